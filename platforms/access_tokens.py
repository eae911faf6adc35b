"""Access tokens of credentials that are renewed: one exchange for however many calls wait, the token kept sealed.

Who renews holds a lease, a time in the row that is set by one guarded UPDATE, so no transaction and no database
connection is open while the token URL is waited for. A process that dies leaves a lease that ends by itself.
"""

import json
import time
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from audit.events import JSON, Actor, Event, Result
from audit.records import record
from platforms import client, destinations
from platforms.access_token_model import AccessToken, access_token_aad
from platforms.client import PlatformUnreachable
from platforms.credentials import Auth, Refresh, parse_auth
from platforms.models import Connection, ConnectionStatus, credential_aad
from platforms.refresh_grants import (
    MAX_ANSWER,
    NotRenewed,
    RefreshGrant,
    Renewed,
    read_answer,
    read_grant,
    request_of,
    rotated,
)
from platforms.vault import KeyServiceError, Sealed, VaultError, open_sealed, seal

TIMEOUT = 10.0  # seconds for one exchange
LEASE = timedelta(seconds=30)
EARLY = timedelta(seconds=30)  # a token that ends within this time is not begun with
PAUSES = {"reauth_needed": timedelta(seconds=15), "token_unavailable": timedelta(seconds=2)}
_LOOK_EVERY = 0.05  # seconds
_ACTOR = Actor("system", "access_tokens", "AgentValet")


class NoAccess(VaultError):
    """There is no access token for the call; `reason` is its code. Nothing has been sent to the platform."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def access_token(*, connection_id: UUID, version: int, timeout: float) -> str:
    """An access token that is good for a while, renewed if need be. Not inside a transaction.

    Waits for up to `timeout` seconds, for somebody else who is renewing it or for its own exchange.

    Raises:
        NoAccess: the grant was refused (`reauth_needed`; the connection says so from then on), no token could be had
            in time (`token_unavailable`), or the credential is not of this version any more (`credential_changed`).
        DestinationChanged, VaultError, KeyServiceError
    """
    deadline = time.monotonic() + timeout
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
        if _take_lease(row, now):
            return _renew(connection_id, version, timeout=min(TIMEOUT, left))
        client.release_connection()
        time.sleep(_LOOK_EVERY)


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
    return opened[0] if opened is not None and opened[1] > now + EARLY else ""


def _take_lease(row: AccessToken, now: datetime) -> bool:
    """Whether the renewal is ours. A lease further ahead than any is ever set was written by a clock put back."""
    free = Q(renewing_until=None) | Q(renewing_until__lte=now) | Q(renewing_until__gt=now + LEASE)
    unchanged = AccessToken.objects.filter(free, pk=row.pk, credential_version=row.credential_version)
    return bool(unchanged.filter(serial=row.serial, failed_at=row.failed_at).update(renewing_until=now + LEASE))


def _renew(connection_id: UUID, version: int, *, timeout: float) -> str:
    """Exchange the refresh token, under the lease."""
    request_id = uuid4()
    try:
        connection = _connection(connection_id, version)
        auth, refresh, grant = _grant_of(connection)
        answer = _exchange(auth, refresh, grant, timeout=timeout)
        _store(connection, grant, answer, request_id=request_id)
    except NotRenewed as error:
        _note_failure(connection, error, request_id=request_id)
        raise NoAccess(error.code, str(error)) from error
    except Exception:
        AccessToken.objects.filter(pk=connection_id).update(renewing_until=None)
        raise
    return answer.access_token


def _connection(connection_id: UUID, version: int) -> Connection:
    found = Connection.objects.select_related("platform").filter(pk=connection_id, credential_version=version).first()
    if found is None:
        raise NoAccess("credential_changed", "The connection's credential was replaced after the call was asked for.")
    return found


def _grant_of(connection: Connection) -> tuple[Auth, Refresh, RefreshGrant]:
    """Read again, under the lease: a platform may have put another refresh token in place of the one we knew."""
    destinations.check(connection)
    sealed = Sealed(
        connection.credential_key_id,
        bytes(connection.credential_wrapped_key),
        bytes(connection.credential_ciphertext),
    )
    aad = credential_aad(connection_id=connection.pk, version=connection.credential_version)
    auth = parse_auth(connection.platform.auth)
    if auth.refresh is None:
        raise NoAccess("credential_changed", "The platform's credentials are not renewed any more.")
    try:
        return auth, auth.refresh, read_grant(open_sealed(sealed, aad=aad))
    except ValueError as error:
        raise NoAccess("reauth_needed", f"{error} Reauthenticate the connection.") from None


def _exchange(auth: Auth, refresh: Refresh, grant: RefreshGrant, *, timeout: float) -> Renewed:
    headers, body = request_of(refresh, grant)
    client.release_connection()
    try:
        response = client.send(
            method="POST",
            url=refresh.token_url,
            headers=headers,
            body=body,
            timeout=timeout,
            max_response_bytes=MAX_ANSWER,
            fresh=True,
        )
    except PlatformUnreachable as error:
        raise NotRenewed("token_unavailable", f"The access could not be renewed. {error}") from None
    except ValueError as error:
        raise NotRenewed("token_unavailable", f"The access could not be renewed. {error}") from None
    return read_answer(auth, refresh, response)


def _store(connection: Connection, grant: RefreshGrant, answer: Renewed, *, request_id: UUID) -> None:
    """Keep the token, and the refresh token if it is another one now, unless the credential was replaced meanwhile."""
    version, now = connection.credential_version, timezone.now()
    end = now + timedelta(seconds=answer.life)
    token = seal(
        json.dumps([answer.access_token, end.isoformat()]),
        aad=access_token_aad(connection_id=connection.pk, version=version),
    )
    is_rotated = answer.refresh_token not in {"", grant.refresh_token}
    kept = None
    if is_rotated:
        text = rotated(grant, answer.refresh_token).text()
        kept = seal(text, aad=credential_aad(connection_id=connection.pk, version=version))
    with transaction.atomic(durable=True):
        rows = Connection.objects.select_for_update(no_key=True).filter(pk=connection.pk, credential_version=version)
        if rows.first() is None:
            raise NoAccess("credential_changed", "The connection's credential was replaced while it was renewed.")
        if kept is not None:
            rows.update(
                credential_key_id=kept.key_id,
                credential_wrapped_key=kept.wrapped_key,
                credential_ciphertext=kept.ciphertext,
            )
        AccessToken.objects.filter(pk=connection.pk, credential_version=version).update(
            serial=F("serial") + 1,
            sealed_key_id=token.key_id,
            sealed_wrapped_key=token.wrapped_key,
            sealed_ciphertext=token.ciphertext,
            renewed_at=now,
            renewing_until=None,
            failed_at=None,
            failure="",
            failure_text="",
        )
        facts: dict[str, JSON] = {"ends_at": end.isoformat(), "refresh_token_replaced": is_rotated}
        _record(connection, Event.CONNECTION_RENEWED, Result.INFO, facts, request_id=request_id, now=now)


def _note_failure(connection: Connection, error: NotRenewed, *, request_id: UUID) -> None:
    version, now = connection.credential_version, timezone.now()
    with transaction.atomic(durable=True):
        rows = Connection.objects.filter(pk=connection.pk, credential_version=version)
        if error.code == "reauth_needed":
            rows.update(status=ConnectionStatus.REAUTH_NEEDED)
        AccessToken.objects.filter(pk=connection.pk, credential_version=version).update(
            renewing_until=None, failed_at=now, failure=error.code, failure_text=str(error)[:500]
        )
        facts: dict[str, JSON] = {"error": str(error)}
        _record(
            connection,
            Event.CONNECTION_NOT_RENEWED,
            Result.ERROR,
            facts,
            reason=error.code,
            request_id=request_id,
            now=now,
        )


def _record(
    connection: Connection,
    event: Event,
    result: Result,
    facts: dict[str, JSON],
    *,
    reason: str = "",
    request_id: UUID,
    now: datetime,
) -> None:
    record(
        event=event,
        result=result,
        owner_id=connection.platform.owner_id,
        actor=_ACTOR,
        now=now,
        request_id=request_id,
        platform=connection.platform.slug,
        reason=reason,
        metadata={
            "connection": connection.label,
            "connection_id": str(connection.pk),
            "credential_version": connection.credential_version,
            **facts,
        },
    )
