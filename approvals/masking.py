"""Which fields of a call hold secrets, by their names: pages show their values only to whoever asks for them.

Nothing is taken away: the value is behind the word, in the same place, and in the text as it is sent. A call with a
stored credential or with a token of a well-known shape never gets as far as a page (`platforms.leaks`).
"""

import re

from django.utils.safestring import SafeString

_ENDINGS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "authorization",
    "credential",
)
_JOINTS = re.compile(r"[\s_.\-\[\]]")


def is_secret(name: str) -> bool:
    """Whether a field of that name holds a secret: `client_secret`, `newPassword`, `card[token]`."""
    return _JOINTS.sub("", name[-80:]).lower().endswith(_ENDINGS)


def said_masked(length: int) -> str:
    return f"masked, {length} character{'' if length == 1 else 's'}"


def masked_html(shown: SafeString, length: int) -> SafeString:
    """`shown`, of a secret of so many characters, behind a word that opens it."""
    return SafeString(f'<details class="masked"><summary>{said_masked(length)}</summary>{shown}</details>')
