"""A form that waits until its sender has shown who they are, sealed: the page that asks shows no word of it.

AES-256-GCM under a key derived from AGENTVALET_SECRET_KEY, for one person, one session, one address, five minutes, and
to be used once. The browser brings the sealed form back; kept here is only which ones were used.
"""

import base64
import binascii
import secrets
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.cache import cache
from django.http import QueryDict
from django.utils.crypto import salted_hmac

from agents.middleware import MemberRequest

LIFETIME = timedelta(minutes=5)
_SESSION_KEY = "pending_forms"  # stays when the session gets a new key, and goes with its end
_NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2.2: random ones, far fewer than 2^32 forms
_TIME_BYTES = 8
_ROOM = 16 * 1024  # of what a browser may send, for the password or a passkey's answer beside the sealed form


class NotThatForm(Exception):
    """It was sealed for somebody else, another session or another address, is too old, or was changed."""


class TooLarge(Exception):
    """Sealed it is longer than what came, and would not be taken when the browser brings it back."""


class UsedBefore(Exception):
    """It was sent before, and is answered or being answered."""


def seal(request: MemberRequest, form: QueryDict) -> str:
    """`form` for this person, session and address, until LIFETIME from now; to be put into a page as it is.

    Raises TooLarge.
    """
    request.session.setdefault(_SESSION_KEY, secrets.token_urlsafe(16))
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plaintext = _milliseconds(request.now).to_bytes(_TIME_BYTES, "big") + form.urlencode().encode()
    sealed = base64.urlsafe_b64encode(nonce + _key().encrypt(nonce, plaintext, _place(request))).decode()
    if len(sealed) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE - _ROOM:
        raise TooLarge
    return sealed


def unseal(request: MemberRequest, sealed: str) -> QueryDict:
    """The form as it was sent. Raises NotThatForm."""
    try:
        raw = base64.b64decode(sealed.encode(), altchars=b"-_", validate=True)
        plaintext = _key().decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _place(request))
    except (ValueError, binascii.Error, InvalidTag) as error:
        raise NotThatForm from error
    age = _milliseconds(request.now) - int.from_bytes(plaintext[:_TIME_BYTES], "big")
    if not 0 <= age < LIFETIME // timedelta(milliseconds=1):
        raise NotThatForm
    return QueryDict(plaintext[_TIME_BYTES:])


def use(sealed: str) -> None:
    """Take what `unseal` has opened, once for all web processes. It reaches over the network.

    Raises:
        UsedBefore: see there.
        RedisError: Valkey is away; nobody knows then.
    """
    if not cache.add(_mark(sealed), 1, timeout=2 * int(LIFETIME.total_seconds())):
        raise UsedBefore


def give_back(sealed: str) -> None:
    """What was taken came to nothing, and may be sent once more. Raises RedisError."""
    cache.delete(_mark(sealed))


def _mark(sealed: str) -> str:
    """By the nonce: the text around it can be written in more than one way."""
    return f"pending-form:{base64.urlsafe_b64decode(sealed)[:_NONCE_BYTES].hex()}"


def _place(request: MemberRequest) -> bytes:
    """What ties a sealed form to where it belongs. A session that has sealed none has no place."""
    session = request.session.get(_SESSION_KEY, "")
    return f"agentvalet.pending_form.v1|{request.member.user_id}|{session}|{request.get_full_path()}".encode()


def _key() -> AESGCM:
    return AESGCM(salted_hmac("agentvalet.pending_form", "key", algorithm="sha256").digest())


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
