"""Renewing one access token: the exchange at the token URL, what is kept of it, and what goes on record.

The caller holds the lease (`platforms.access_tokens`), so nobody else does the same; no transaction is open meanwhile.
Who finds another serial in the row than it began with has lost the lease, and leaves everything as the others put it.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from audit.events import JSON, Actor, Event, Result
from audit.records import record
from platforms import client, destinations
from platforms.access_token_model import AccessToken, access_token_aad
from platforms.client import PlatformUnreachable
from platforms.credentials import Auth, Refresh, parse_auth
from platforms.kept_tokens import KeptToken, text_of
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
from platforms.written import until_written

# Seconds for storing what was got: a refresh token that is good once is lost with it. Well inside the lease.
PATIENCE = 12.0
_ACTOR = Actor("system", "access_tokens", "AgentValet")


class NoAccess(VaultError):
    """There is no access token for the call; `reason` is its code. Nothing has been sent to the platform."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def renew(connection_id: UUID, version: int, serial: int, *, replaced: Sequence[KeptToken], timeout: float) -> str:
    """Exchange the refresh token, and keep what comes of it; the lease is given back.

    `serial` and `replaced`, the row's tokens, are as they were when the lease was taken.

    Raises NoAccess, DestinationChanged, VaultError, KeyServiceError.
    """
    request_id = uuid4()
    try:
        connection = _connection(connection_id, version)
        auth, refresh, grant = _grant_of(connection)
        answer = _exchange(auth, refresh, grant, timeout=timeout)
        _store(connection, serial, grant, answer, replaced, request_id=request_id)
    except NotRenewed as error:
        _note_failure(connection, serial, error, request_id=request_id)
        raise NoAccess(error.code, str(error)) from error
    except Exception:
        AccessToken.objects.filter(pk=connection_id, serial=serial).update(renewing_until=None)
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


def _store(
    connection: Connection,
    serial: int,
    grant: RefreshGrant,
    answer: Renewed,
    replaced: Sequence[KeptToken],
    *,
    request_id: UUID,
) -> None:
    """Keep the token, and the refresh token if it is another one now, unless the credential was replaced meanwhile."""
    deadline = time.monotonic() + PATIENCE
    version, now = connection.credential_version, timezone.now()
    end = now + timedelta(seconds=answer.life)
    is_rotated = answer.refresh_token not in {"", grant.refresh_token}

    def sealed() -> tuple[Sealed, Sealed | None]:
        text = text_of(KeptToken(answer.access_token, end), replaced, now=now)
        token = seal(text, aad=access_token_aad(connection_id=connection.pk, version=version))
        if not is_rotated:
            return token, None
        text = rotated(grant, answer.refresh_token).text()
        return token, seal(text, aad=credential_aad(connection_id=connection.pk, version=version))

    token, kept = until_written(sealed, patience=PATIENCE, also=(KeyServiceError,))

    def found() -> bool | None:
        rows = AccessToken.objects.filter(pk=connection.pk, sealed_ciphertext=token.ciphertext)
        return rows.exists() or None

    def write() -> bool:
        with transaction.atomic(durable=True):
            rows = _locked(connection)
            if rows is None:
                raise NoAccess("credential_changed", "The connection's credential was replaced while it was renewed.")
            is_ours = AccessToken.objects.filter(pk=connection.pk, credential_version=version, serial=serial).update(
                serial=F("serial") + 1,
                sealed_key_id=token.key_id,
                sealed_wrapped_key=token.wrapped_key,
                sealed_ciphertext=token.ciphertext,
                renewed_at=now,
                renewing_until=None,
                failed_at=None,
                failing_since=None,
                failure="",
                failure_text="",
            )
            if not is_ours:
                return False
            if kept is not None:
                rows.update(
                    credential_key_id=kept.key_id,
                    credential_wrapped_key=kept.wrapped_key,
                    credential_ciphertext=kept.ciphertext,
                )
            rows.filter(status=ConnectionStatus.REAUTH_NEEDED).update(status=ConnectionStatus.UNTESTED)
            facts: dict[str, JSON] = {"ends_at": end.isoformat(), "refresh_token_replaced": is_rotated}
            _record(connection, Event.CONNECTION_RENEWED, Result.INFO, facts, request_id=request_id, now=now)
            return True

    until_written(write, found=found, patience=deadline - time.monotonic())


def _locked(connection: Connection) -> QuerySet[Connection] | None:
    """The row, locked; None if its credential was replaced."""
    rows = Connection.objects.filter(pk=connection.pk, credential_version=connection.credential_version)
    return rows if rows.select_for_update(no_key=True).values_list("pk").first() else None


def _note_failure(connection: Connection, serial: int, error: NotRenewed, *, request_id: UUID) -> None:
    version, now = connection.credential_version, timezone.now()
    with transaction.atomic(durable=True):
        rows = _locked(connection)
        is_ours = AccessToken.objects.filter(pk=connection.pk, credential_version=version, serial=serial).update(
            renewing_until=None,
            failed_at=now,
            failing_since=Coalesce("failing_since", Value(now)),
            failure=error.code,
            failure_text=str(error)[:500],
        )
        if rows is not None and is_ours and error.code == "reauth_needed":
            rows.update(status=ConnectionStatus.REAUTH_NEEDED)
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
