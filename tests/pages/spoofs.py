"""Texts that try to mislead the person who decides: what an agent may write, and what has to be seen of it.

Each row: name, the text, what the page's text must contain, what it must not contain. Add every new finding here.
"""

from typing import NamedTuple


class Spoof(NamedTuple):
    name: str
    text: str
    shown: str
    hidden: str


SPOOFS = [
    Spoof("script", "<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;", "<script>alert"),
    Spoof("image", '"><img src=x onerror=alert(1)>', "&gt;&lt;img src=x onerror=alert(1)&gt;", "<img"),
    Spoof("template", "{{ 7|add:7 }}{% now 'Y' %}", "{{ 7|add:7 }}{% now &#x27;Y&#x27; %}", "14{%"),
    Spoof("entity", "&lt;b&gt;", "&amp;lt;b&amp;gt;", "&lt;b&gt;<"),
    Spoof("markdown link", "[safe](https://evil.example)", "[safe](https://evil.example)", "<a href=https://evil"),
    Spoof("ansi", "\x1b[31mred\x1b[0m", "⟦U+001B⟧", "\x1b"),
    Spoof("bell and backspace", "ok\x07\x08\x08no", "⟦U+0007⟧", "\x07"),
    Spoof("delete", "a\x7fb", "⟦U+007F⟧", "\x7f"),
    Spoof("c1 control", "a\x85b", "⟦U+0085⟧", "\x85"),
    Spoof("right-to-left override", "invoice\u202efdp.exe", "⟦U+202E⟧", "\u202e"),
    Spoof("left-to-right embedding", "a\u202ab\u202c", "⟦U+202A⟧", "\u202a"),
    Spoof("isolate", "a\u2067b\u2069", "⟦U+2067⟧", "\u2067"),
    Spoof("arabic letter mark", "a\u061cb", "⟦U+061C⟧", "\u061c"),
    Spoof("zero width space", "pay\u200bpal", "⟦U+200B⟧", "\u200b"),
    Spoof("zero width joiner", "pay\u200dpal", "⟦U+200D⟧", "\u200d"),
    Spoof("word joiner", "pay\u2060pal", "⟦U+2060⟧", "\u2060"),
    Spoof("byte order mark", "\ufeffpay", "⟦U+FEFF⟧", "\ufeff"),
    Spoof("soft hyphen", "pay\u00adpal", "⟦U+00AD⟧", "\u00ad"),
    Spoof("combining grapheme joiner", "pay\u034fpal", "⟦U+034F⟧", "\u034f"),
    Spoof("hangul filler", "pay\u3164pal", "⟦U+3164⟧", "\u3164"),
    Spoof("halfwidth hangul filler", "pay\uffa0pal", "⟦U+FFA0⟧", "\uffa0"),
    Spoof("mongolian separator", "pay\u180epal", "⟦U+180E⟧", "\u180e"),
    Spoof("variation selector", "pay\ufe00pal", "⟦U+FE00⟧", "\ufe00"),
    Spoof("supplementary variation selector", "pay\U000e0101pal", "⟦U+E0101⟧", "\U000e0101"),
    Spoof("tag characters", "ok\U000e0041\U000e0042", "⟦U+E0041⟧⟦U+E0042⟧", "\U000e0041"),
    Spoof("unassigned ignorable", "pay\U000e0fffpal", "⟦U+E0FFF⟧", "\U000e0fff"),
    Spoof("braille blank", "pay\u2800pal", "⟦U+2800⟧", "\u2800"),
    Spoof("no-break space", "pay\u00a0pal", "⟦U+00A0⟧", "\u00a0"),
    Spoof("line separator", "ok\u2028Amount: 1", "⟦U+2028⟧", "\u2028"),
    Spoof("paragraph separator", "ok\u2029Amount: 1", "⟦U+2029⟧", "\u2029"),
    Spoof("private use", "a\ue000b", "⟦U+E000⟧", "\ue000"),
    Spoof("noncharacter", "a\ufffeb", "⟦U+FFFE⟧", "\ufffe"),
    Spoof("forged mark", "⟦U+202E⟧", "⟦U+27E6⟧", "⟦U+202E⟧"),
    Spoof(
        "cyrillic letter in a latin word",
        "p\u0430ypal",
        'p\u0430<span class="codepoint">⟦U+0430⟧</span>ypal',
        "p\u0430ypal",
    ),
    Spoof("greek letter in a latin word", "g\u03bfogle", "⟦U+03BF⟧", "g\u03bfogle"),
    Spoof("fullwidth letters", "\uff50ay", "⟦U+FF50⟧", "\uff50ay"),
    Spoof("mathematical letters", "\U0001d429ay", "⟦U+1D429⟧", "\U0001d429ay"),
    Spoof("combining stack", "e" + "\u0301" * 40, "⟦U+0301⟧⟦U+0301⟧", "\u0301" * 4),
    Spoof("formula", '=HYPERLINK("https://evil.example")', "=HYPERLINK(", '<a href="https://evil'),
]

# Honest text stays as it is.
HONEST = [
    "Grüße aus Köln",
    "Привет, мир",
    "日本語のメッセージ",
    "Tiếng Việt",
    "مرحبا",
    "emoji 🎉",
    "a/b_c-d.e",
    "naïve café",
]
