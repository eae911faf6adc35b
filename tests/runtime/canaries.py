"""Looking for secrets in whatever a server leaves behind: each in every spelling that a reader could undo at once."""

import base64
import json
import os
import subprocess
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field


def spellings(secret: str | bytes) -> dict[str, bytes]:
    """The secret as it is and encoded, by the name of the encoding. In base64 it may stand anywhere in a longer text."""
    raw = secret.encode() if isinstance(secret, str) else secret
    found = {"plain": raw, "reversed": raw[::-1]}
    text = raw.decode("utf-8", "replace")
    if text.encode() == raw:
        found |= {
            "url": urllib.parse.quote(text, safe="").encode(),
            "form": urllib.parse.quote_plus(text).encode(),
            "json": json.dumps(text)[1:-1].encode(),
            "json /": json.dumps(text)[1:-1].replace("/", "\\/").encode(),
            "html": text.replace("&", "&amp;")
            .replace("<", "&lt;")
            .replace('"', "&quot;")
            .replace("'", "&#x27;")
            .encode(),
        }
    found |= {"hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw)
        first, last = (offset * 8 + 5) // 6, (offset + len(raw)) * 8 // 6  # characters that hold nothing but the secret
        found[f"base64 at {offset}"] = whole[first:last]
        found[f"base64url at {offset}"] = whole[first:last].translate(bytes.maketrans(b"+/", b"-_"))
    return found


@dataclass
class Canaries:
    """Secrets by name, and the texts in which they were found or must not be."""

    secrets: dict[str, str | bytes] = field(default_factory=dict)

    def plant(self, name: str, secret: str | bytes) -> None:
        assert len(secret) >= 11, f"{name} is found by chance"
        self.secrets[name] = secret

    def found_in(self, texts: Mapping[str, bytes], *, allowed: Mapping[str, set[str]] | None = None) -> list[str]:
        """One line for each secret in each text, apart from the secrets that are allowed in it.

        `grep` looks for all spellings at once in most of it; where it finds one, each is looked for by itself.
        """
        allowed = allowed or {}
        needles = [
            (name, encoding, needle)
            for name, secret in self.secrets.items()
            for encoding, needle in spellings(secret).items()
        ]
        usual = {where: text for where, text in texts.items() if where not in allowed}
        if not _any_in([needle for _, _, needle in needles], b"\n".join(usual.values())):
            texts = {where: text for where, text in texts.items() if where in allowed}
        return sorted(
            {
                f"{name} ({encoding}) in {where}: …{around(text, needle)!r}…"
                for where, text in texts.items()
                for name, encoding, needle in needles
                if needle in text and name not in allowed.get(where, set())
            }
        )


def _any_in(needles: list[bytes], text: bytes) -> bool:
    """A needle that `grep` cannot be given, with a line break or a NUL in it, is looked for here."""
    odd = [needle for needle in needles if b"\n" in needle or b"\0" in needle]
    lines = b"\n".join(needle for needle in needles if needle not in odd)
    command: list[str | bytes] = ["grep", "-a", "-q", "-F", "-e", lines]
    done = subprocess.run(command, input=text, env={"LC_ALL": "C", "PATH": os.defpath}, check=False)
    assert done.returncode in {0, 1}
    return done.returncode == 0 or any(needle in text for needle in odd)


def around(text: bytes, needle: bytes) -> bytes:
    place = text.index(needle)
    return text[max(0, place - 80) : place + 20]
