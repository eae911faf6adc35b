"""Access tokens of credentials that are renewed: one exchange for however many calls wait, the token kept sealed.

Who renews holds a lease, a time in the row that is set by one guarded UPDATE, so no transaction and no database
connection is open while the token URL is waited for. A process that dies leaves a lease that ends by itself.
"""

import time
from datetime import datetime, timedelta
from math import inf
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Q
from django.utils import timezone

from platforms import client
from platforms.access_token_model import AccessToken
from platforms.kept_tokens import KeptToken, open_tokens
from platforms.renewals import NoAccess, renew

TIMEOUT = 10.0  # seconds for one exchange
LEAST = 5.0  # seconds: one that is given up earlier may have replaced the refresh token, and nobody knows by what
LEASE = timedelta(seconds=30)  # for opening the grant, the exchange, and `renewals.PATIENCE` to store what came of it
EARLY = timedelta(
    seconds=30
)  # a token that ends within this time, or in the second half of its life, is not begun with
PAUSE_REFUSED = timedelta(seconds=15)
PAUSES_AWAY = timedelta(seconds=2), timedelta(seconds=30)  # the shortest and the longest
_LOOK_AGAIN = (0.05, 0.4)  # seconds: the first wait for somebody else, and the longest


def access_token(*, connection_id: UUID, version: int, timeout: float, patience: float = inf) -> str:
    """An access token that is good for a while, renewed if need be. Not inside a transaction.

    Waits for up to `timeout` seconds, for its own exchange or somebody else's, for that one at most `patience` seconds;
    none is begun in the last LEAST seconds of it, or the last half. Where storing what was got takes several tries it
    takes longer.

    Raises:
        NoAccess: the grant was refused (`reauth_needed`; the connection says so from then on), no token could be had
            in time (`token_unavailable`), or the credential is not of this version any more (`credential_changed`).
        DestinationChanged, VaultError, KeyServiceError
    """
    began, least = time.monotonic(), min(LEAST, timeout / 2)
    wait, longest = _LOOK_AGAIN
    while True:
        row = _row(connection_id, version)
        now = timezone.now()
        kept = open_tokens(row)
        token = _current(row, kept, now)
        if token:
            return token
        if row.failed_at is not None and row.failed_at <= now < row.failed_at + _pause(row):
            raise NoAccess(row.failure, row.failure_text)
        waited = time.monotonic() - began
        left = timeout - waited
        if left <= 0:
            raise NoAccess("token_unavailable", "The access was being renewed, and that took too long.")
        if left >= least and _take_lease(row, now):
            return renew(connection_id, version, row.serial, replaced=kept, timeout=min(TIMEOUT, left))
        if waited >= patience:
            raise NoAccess("token_unavailable", "The access is being renewed.")
        client.release_connection()
        time.sleep(min(wait, left))
        wait = min(wait * 1.5, longest)


def forget(*, connection_id: UUID, before: datetime) -> bool:
    """Use a token no more that the platform has not taken, if it was got before that time; whether there was one.

    It stays in its row, as it may be good elsewhere: no call may carry it.
    """
    return bool(AccessToken.objects.filter(connection_id=connection_id, renewed_at__lt=before).update(renewed_at=None))


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


def _pause(row: AccessToken) -> timedelta:
    """How long after a failure nobody asks again: a quarter of the time that there has been trouble, within limits."""
    if row.failure == "reauth_needed" or row.failed_at is None:
        return PAUSE_REFUSED
    shortest, longest = PAUSES_AWAY
    return max(shortest, min((row.failed_at - (row.failing_since or row.failed_at)) / 4, longest))


def _current(row: AccessToken, kept: list[KeptToken], now: datetime) -> str:
    if not kept or row.renewed_at is None:
        return ""
    newest = kept[0]
    return newest.token if newest.end > now + min(EARLY, (newest.end - row.renewed_at) / 2) else ""


def _take_lease(row: AccessToken, now: datetime) -> bool:
    """Whether the renewal is ours. A lease further ahead than any is ever set was written by a clock put back.

    Twice as far: whoever has taken it may have looked at the clock after us, or have one that is ahead of ours.
    """
    free = Q(renewing_until=None) | Q(renewing_until__lte=now) | Q(renewing_until__gt=now + 2 * LEASE)
    unchanged = AccessToken.objects.filter(free, pk=row.pk, credential_version=row.credential_version)
    return bool(unchanged.filter(serial=row.serial, failed_at=row.failed_at).update(renewing_until=now + LEASE))
