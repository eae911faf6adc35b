"""Access tokens of credentials that are renewed: one exchange for however many calls wait, the token kept sealed.

Who renews holds a lease, a time in the row that is set by one guarded UPDATE, so no transaction and no database
connection is open while the token URL is waited for. A process that dies leaves a lease that ends by itself.
"""

import json
import time
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone

from platforms import client
from platforms.access_token_model import AccessToken, access_token_aad
from platforms.renewals import NoAccess, renew
from platforms.vault import KeyServiceError, Sealed, VaultError, open_sealed

TIMEOUT = 10.0  # seconds for one exchange
LEAST = 5.0  # seconds: one that is given up earlier may have replaced the refresh token, and nobody knows by what
LEASE = timedelta(seconds=30)  # for opening the grant, the exchange, and `renewals.PATIENCE` to store what came of it
EARLY = timedelta(
    seconds=30
)  # a token that ends within this time, or in the second half of its life, is not begun with
PAUSES = {"reauth_needed": timedelta(seconds=15), "token_unavailable": timedelta(seconds=2)}
_LOOK_AGAIN = (0.05, 0.4)  # seconds: the first wait for somebody else, and the longest


def access_token(*, connection_id: UUID, version: int, timeout: float) -> str:
    """An access token that is good for a while, renewed if need be. Not inside a transaction.

    Waits for up to `timeout` seconds, for somebody else who is renewing it or for its own exchange; none is begun in
    the last LEAST seconds of it, or the last half. Where storing what was got takes several tries it takes longer.

    Raises:
        NoAccess: the grant was refused (`reauth_needed`; the connection says so from then on), no token could be had
            in time (`token_unavailable`), or the credential is not of this version any more (`credential_changed`).
        DestinationChanged, VaultError, KeyServiceError
    """
    deadline, least = time.monotonic() + timeout, min(LEAST, timeout / 2)
    wait, longest = _LOOK_AGAIN
    while True:
        row = _row(connection_id, version)
        now = timezone.now()
        token = _current(row, now)
        if token:
            return token
        if row.failed_at is not None and row.failed_at <= now < row.failed_at + PAUSES[row.failure]:
            raise NoAccess(row.failure, row.failure_text)
        left = deadline - time.monotonic()
        if left <= 0:
            raise NoAccess("token_unavailable", "The access was being renewed, and that took too long.")
        if left >= least and _take_lease(row, now):
            return renew(connection_id, version, row.serial, timeout=min(TIMEOUT, left))
        client.release_connection()
        time.sleep(min(wait, left))
        wait = min(wait * 1.5, longest)


def forget(*, connection_id: UUID, before: datetime) -> bool:
    """Drop a token that the platform has not taken, if it was got before that time; whether there was such a one."""
    old = AccessToken.objects.filter(connection_id=connection_id, renewed_at__lt=before).exclude(sealed_ciphertext=b"")
    return bool(old.update(sealed_key_id="", sealed_wrapped_key=b"", sealed_ciphertext=b"", renewed_at=None))


def _row(connection_id: UUID, version: int) -> AccessToken:
    try:
        row, _ = AccessToken.objects.get_or_create(
            connection_id=connection_id, defaults={"credential_version": version}
        )
    except IntegrityError:
        raise NoAccess("credential_changed", "The connection is gone.") from None
    if row.credential_version < version:  # what is in it was got with a credential that was replaced
        fresh = AccessToken(connection_id=connection_id, credential_version=version, serial=row.serial)
        AccessToken.objects.filter(pk=row.pk, credential_version=row.credential_version).update(
            **{field.attname: getattr(fresh, field.attname) for field in AccessToken._meta.concrete_fields}
        )
        row = AccessToken.objects.get(pk=row.pk)
    if row.credential_version != version:
        raise NoAccess("credential_changed", "The connection's credential was replaced after the call was asked for.")
    return row


def _sealed(row: AccessToken) -> Sealed:
    return Sealed(row.sealed_key_id, bytes(row.sealed_wrapped_key), bytes(row.sealed_ciphertext))


def open_token(row: AccessToken) -> tuple[str, datetime] | None:
    """The token and its end; None if there is none, or none that a key opens. Raises KeyServiceError."""
    if not row.sealed_ciphertext:
        return None
    try:
        text = open_sealed(
            _sealed(row), aad=access_token_aad(connection_id=row.connection_id, version=row.credential_version)
        )
    except KeyServiceError:
        raise
    except VaultError:  # its key is gone, or the row was changed: another token is had for the asking
        return None
    token, end = json.loads(text)
    return token, datetime.fromisoformat(end)


def _current(row: AccessToken, now: datetime) -> str:
    opened = open_token(row)
    if opened is None or row.renewed_at is None:
        return ""
    token, end = opened
    return token if end > now + min(EARLY, (end - row.renewed_at) / 2) else ""


def _take_lease(row: AccessToken, now: datetime) -> bool:
    """Whether the renewal is ours. A lease further ahead than any is ever set was written by a clock put back.

    Twice as far: whoever has taken it may have looked at the clock after us, or have one that is ahead of ours.
    """
    free = Q(renewing_until=None) | Q(renewing_until__lte=now) | Q(renewing_until__gt=now + 2 * LEASE)
    unchanged = AccessToken.objects.filter(free, pk=row.pk, credential_version=row.credential_version)
    return bool(unchanged.filter(serial=row.serial, failed_at=row.failed_at).update(renewing_until=now + LEASE))
