"""reveal(): what an agent wrote, with everything made visible that the eye would miss or be misled by.

An approver decides on what the page shows, so text from agents and platforms may not hide, reorder or imitate
anything. Marks look like ⟦U+202E⟧; a bracket ⟦ in the text is itself marked, so a mark cannot be forged.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString

# Default_Ignorable_Code_Point (Unicode 15, DerivedCoreProperties.txt) outside the general categories that
# `str.isprintable` already refuses, and assigned characters whose glyph is blank.
_BLANK = frozenset(
    map(
        chr,
        [
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE10),
            *range(0xE0000, 0xE1000),
            *(0x2800, 0xFFFC, 0x1D159),
        ],
    )
)
_MARKED_BRACKETS = frozenset("⟦⟧")
_LONGEST_STACK = 3  # combining marks on one letter; living orthographies need no more
_NOT_PLAIN = re.compile(r"[^ -~]")
_WORD = re.compile(r"[^\W\d_]+")
# Scripts whose letters pass for Latin ones. Names of characters start with their script.
_LOOKALIKES = ("CYRILLIC", "GREEK", "COPTIC", "ARMENIAN", "CHEROKEE", "LISU", "DESERET", "OSAGE")
_COSTUMES = ("FULLWIDTH LATIN", "FULLWIDTH DIGIT", "MATHEMATICAL")  # Latin letters that are not ASCII ones


def reveal(text: str) -> str:
    """`text` as plain text for channels without markup (push, e-mail, CSV): safe to read, on one line."""
    return "".join(piece for _, piece in pieces(text))


def reveal_html(text: str) -> SafeString:
    """`text` escaped, its marks in <span class="codepoint">, isolated from the writing direction around it."""
    return format_html("<bdi>{}</bdi>", marked_html(pieces(text)))


def marked_html(runs: Iterator[tuple[bool, str]]) -> SafeString:
    """Pieces as escaped HTML; neighbouring marks share a span."""
    html = []
    for is_mark, group in groupby(runs, key=lambda piece: piece[0]):
        text = escape("".join(piece for _, piece in group))
        html.append(f'<span class="codepoint">{text}</span>' if is_mark else text)
    return SafeString("".join(html))


def pieces(text: str) -> Iterator[tuple[bool, str]]:
    """`text` cut into (is a mark, what to show)."""
    imitations = _imitations(text)
    done = stack = 0
    last = -1  # where the previous special character was
    for found in _NOT_PLAIN.finditer(text):
        at, character = found.start(), found.group()
        combining = unicodedata.category(character) in {"Mn", "Me"}
        stack = stack + 1 if combining and at == last + 1 else int(combining)
        last = at
        hidden = (
            not character.isprintable()
            or character in _BLANK
            or character in _MARKED_BRACKETS
            or stack > _LONGEST_STACK
            or (combining and at == 0)
        )
        if hidden or at in imitations:
            end = at if hidden else at + 1  # an imitation stays readable, with its mark behind it
            if done < end:
                yield False, text[done:end]
            yield True, mark(character)
            done = at + 1
    if done < len(text):
        yield False, text[done:]


def mark(character: str) -> str:
    """⟦U+202E⟧ for U+202E."""
    return f"⟦U+{ord(character):04X}⟧"


def _imitations(text: str) -> set[int]:
    """Where letters stand that look like Latin ones and are not: in words that mix scripts, or in costume."""
    if text.isascii():
        return set()
    found = set()
    for word in _WORD.finditer(text):
        if word.group().isascii():
            continue
        names = [unicodedata.name(letter, "") for letter in word.group()]
        mixed = any(name.startswith("LATIN") for name in names)
        for offset, name in enumerate(names):
            if name.startswith(_COSTUMES) or (mixed and name.startswith(_LOOKALIKES)):
                found.add(word.start() + offset)
    return found
