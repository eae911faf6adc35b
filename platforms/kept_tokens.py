"""The access tokens in a row of `platforms.access_token_model`: the one in use, and those it was put in place of.

What was replaced is never used again, but stays good at the platform until its end: until then no call may carry it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from platforms.access_token_model import AccessToken, access_token_aad
from platforms.vault import KeyServiceError, Sealed, VaultError, open_sealed

_REPLACED = 4  # that are kept at most


@dataclass(frozen=True, slots=True)
class KeptToken:
    """An access token in clear, and when it ends."""

    token: str = field(repr=False)
    end: datetime


def text_of(current: KeptToken, replaced: Iterable[KeptToken], *, now: datetime) -> str:
    """What is sealed: token, end, and the same of the newest of those that have not ended."""
    alive = [kept for kept in replaced if kept.end > now]
    return json.dumps([part for kept in [current, *alive[:_REPLACED]] for part in (kept.token, kept.end.isoformat())])


def open_tokens(row: AccessToken | None) -> list[KeptToken]:
    """The newest first; none if there is none, or none that a key opens. Raises KeyServiceError."""
    if row is None or not row.sealed_ciphertext:
        return []
    sealed = Sealed(row.sealed_key_id, bytes(row.sealed_wrapped_key), bytes(row.sealed_ciphertext))
    aad = access_token_aad(connection_id=row.connection_id, version=row.credential_version)
    try:
        text = open_sealed(sealed, aad=aad)
    except KeyServiceError:
        raise
    except VaultError:  # its key is gone, or the row was changed: another token is had for the asking
        return []
    parts = json.loads(text)
    return [KeptToken(token, datetime.fromisoformat(end)) for token, end in zip(parts[::2], parts[1::2], strict=True)]
