"""The secret that opens /set-up. It needs no models: what prints it on the console has none.

It is derived from AGENTVALET_SECRET_KEY, so nothing has to be kept, and is good only as long as there is no owner.
"""

import base64
import secrets

from django.utils.crypto import salted_hmac

_BYTES = 15  # 120 bits: 24 letters and digits


def set_up_secret(*, key: str = "") -> str:
    """As it is printed: ABCD-EFGH-…; `key` is AGENTVALET_SECRET_KEY where the settings do not have it yet."""
    digest = salted_hmac("agentvalet.set_up", "first owner", secret=key or None, algorithm="sha256").digest()
    text = base64.b32encode(digest[:_BYTES]).decode()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def is_set_up_secret(text: str) -> bool:
    """In constant time; spaces, hyphens and lower case as people type them."""
    typed = "".join(character for character in text.upper() if character.isalnum())
    return secrets.compare_digest(typed.encode("utf-8", "replace"), set_up_secret().replace("-", "").encode())
