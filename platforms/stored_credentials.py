"""What a connection's row says of its credential: put in, opened, re-wrapped under another vault key, given up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import QuerySet

from audit.events import JSON, Actor, Event, Result
from audit.records import record
from platforms import destinations, vault
from platforms.access_token_model import AccessToken
from platforms.access_tokens import TIMEOUT, access_token
from platforms.credentials import parse_auth
from platforms.models import Connection, ConnectionStatus, credential_aad
from platforms.refresh_grants import is_renewed, is_same_grant
from platforms.vault import EMPTY, KeyServiceError, Sealed, VaultError, open_sealed, rewrap, seal

ACTOR = Actor("system", "rotate_vault_key", "manage.py rotate_vault_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """A credential for a connection as it was read: sealed before the transaction that stores it, as that may take a
    network. `sealed` is None where this credential is stored already.
    """

    connection_id: UUID
    version: int  # of the credential that is replaced, 0 for none
    sealed: Sealed | None

    def fits(self, connection: Connection | None) -> bool:
        """Whether the row, locked by now, still holds what was looked at; a new data key around it is no change."""
        if connection is None:
            return self.version == 0
        return (self.connection_id, self.version) == (connection.pk, connection.credential_version)


def take_in(connection: Connection | None, credential: str, *, keep_renewed: bool = False) -> Intake:
    """Seal the credential for this connection, or for a new one. Not inside a transaction.

    A grant replaces what it was renewed to, which may be lost; with `keep_renewed`, as for a file's, it does not.
    Raises VaultError if AGENTVALET_VAULT_KEYS is unusable, KeyServiceError.
    """
    pk, version = (connection.pk, connection.credential_version) if connection else (uuid4(), 0)
    is_kept = keep_renewed or not is_same_grant(credential, credential)
    if connection is not None and is_kept and _holds(connection, credential):
        return Intake(connection_id=pk, version=version, sealed=None)
    sealed = seal(credential, aad=credential_aad(connection_id=pk, version=version + 1))
    return Intake(connection_id=pk, version=version, sealed=sealed)


def put(connection: Connection, intake: Intake) -> None:
    """Store the credential in the row, as its next version. Saving it is the caller's, who holds its lock.

    An access token that was got with the one before is destroyed with it.
    """
    if intake.sealed is None:
        return
    AccessToken.objects.filter(connection_id=connection.pk).delete()
    connection.credential_version = intake.version + 1
    _put_sealed(connection, intake.sealed)
    if connection.status == ConnectionStatus.REAUTH_NEEDED:
        connection.status = ConnectionStatus.UNTESTED


def credential_of(connection: Connection, *, timeout: float = TIMEOUT, patience: float = inf) -> str:
    """The credential in clear, for one call to its platform; of one that is renewed, an access token, waited for as
    `access_token` says. Not inside a transaction.

    Raises DestinationChanged, NoAccess, VaultError, KeyServiceError.
    """
    destinations.check(connection)
    credential = _opened(connection)
    if is_renewed(parse_auth(connection.platform.auth), credential):
        version = connection.credential_version
        return access_token(connection_id=connection.pk, version=version, timeout=timeout, patience=patience)
    return credential


def _opened(connection: Connection) -> str:
    return open_sealed(_sealed(connection), aad=_aad(connection))


def _holds(connection: Connection, credential: str) -> bool:
    """Whether this is the credential that is stored, perhaps renewed since. One that no key opens is none."""
    try:
        stored = _opened(connection)
        return stored == credential or is_same_grant(stored, credential)
    except KeyServiceError:
        raise
    except VaultError:
        return False


class Outcome(StrEnum):
    """What a rotation did with one credential, in words for the operator."""

    REWRAPPED = "re-wrapped"
    CURRENT = "is under this key already"
    EMPTY = "has no credential"
    UNREADABLE = "cannot be opened"
    FORGOTTEN = "could not be opened and was given up: provision a new credential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    platform: str
    label: str
    connection_id: UUID
    outcome: Outcome
    key_id: str  # what it was under before


def rotate(*, forget_unreadable: bool, request_id: UUID, now: datetime) -> Iterator[Rotated]:
    """Put every stored credential under the first key of AGENTVALET_VAULT_KEYS, one after the other.

    Each is a transaction of its own, with its row on record, so that calls go on meanwhile and a run that was stopped
    is finished by the next one. Credentials are not opened, only the data keys around them.

    With `forget_unreadable` each is opened, and those that cannot be are emptied for good: the connection stays and
    needs a new credential.

    Raises:
        VaultError: AGENTVALET_VAULT_KEYS is no list of keys; nothing was touched.
        KeyServiceError: a key service did not answer; what was done before stays done, nothing was given up for it.
    """
    vault.check_keys()
    last = UUID(int=0)
    while connection := _connections().filter(pk__gt=last).order_by("pk").first():
        rotated = None
        while connection is not None and rotated is None:
            turned = _turn(connection, forget_unreadable=forget_unreadable)
            rotated = _store(turned, request_id=request_id, now=now)
            if rotated is None:  # it was changed meanwhile, or is gone
                connection = _connections().filter(pk=turned.connection.pk).first()
        if rotated is not None:
            yield rotated
        last = turned.connection.pk


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turned:
    """What is to become of one connection, as it was read."""

    connection: Connection
    before: Sealed
    after: Sealed
    outcome: Outcome


def _connections() -> QuerySet[Connection]:
    return Connection.objects.select_related("platform")


def _turn(connection: Connection, *, forget_unreadable: bool) -> _Turned:
    """Outside a transaction, as the keys may be across a network. Raises KeyServiceError."""
    before = after = _sealed(connection)
    try:
        if before == EMPTY:
            outcome = Outcome.EMPTY
        else:
            if forget_unreadable:
                open_sealed(before, aad=_aad(connection))
            after = rewrap(before, aad=_aad(connection))
            outcome = Outcome.CURRENT if after == before else Outcome.REWRAPPED
    except KeyServiceError:
        raise
    except VaultError:
        outcome, after = (Outcome.FORGOTTEN, EMPTY) if forget_unreadable else (Outcome.UNREADABLE, before)
    return _Turned(connection=connection, before=before, after=after, outcome=outcome)


def _store(turned: _Turned, *, request_id: UUID, now: datetime) -> Rotated | None:
    """None, and nothing done, if the row is not any more what was turned."""
    outcome, before, after = turned.outcome, turned.before, turned.after
    if outcome in {Outcome.REWRAPPED, Outcome.FORGOTTEN}:
        with transaction.atomic(durable=True):
            locking = _connections().select_for_update(of=("self",), no_key=True)
            connection = locking.filter(pk=turned.connection.pk).first()
            if connection is None or (_sealed(connection), connection.credential_version) != (
                before,
                turned.connection.credential_version,
            ):
                return None
            _put_sealed(connection, after)
            if outcome == Outcome.FORGOTTEN:
                connection.credential_version += 1
                connection.status = ConnectionStatus.REAUTH_NEEDED
                AccessToken.objects.filter(connection_id=connection.pk).delete()
            connection.save(
                update_fields=[
                    "credential_key_id",
                    "credential_wrapped_key",
                    "credential_ciphertext",
                    "credential_version",
                    "status",
                ]
            )
            _record(connection, outcome, before=before, after=after, request_id=request_id, now=now)
    return Rotated(
        platform=turned.connection.platform.slug,
        label=turned.connection.label,
        connection_id=turned.connection.pk,
        outcome=outcome,
        key_id=before.key_id,
    )


def _record(
    connection: Connection, outcome: Outcome, *, before: Sealed, after: Sealed, request_id: UUID, now: datetime
) -> None:
    facts: dict[str, JSON] = {
        "connection": connection.label,
        "connection_id": str(connection.pk),
        "from_key": before.key_id,
        "to_key": after.key_id,
        "credential_version": connection.credential_version,
    }
    forgotten = outcome == Outcome.FORGOTTEN
    record(
        event=Event.PLATFORM_CREDENTIAL_FORGOTTEN if forgotten else Event.PLATFORM_CREDENTIAL_REWRAPPED,
        result=Result.INFO,
        owner_id=connection.platform.owner_id,
        actor=ACTOR,
        now=now,
        request_id=request_id,
        platform=connection.platform.slug,
        metadata=facts,
    )


def _aad(connection: Connection) -> bytes:
    return credential_aad(connection_id=connection.pk, version=connection.credential_version)


def _sealed(connection: Connection) -> Sealed:
    return Sealed(
        connection.credential_key_id,
        bytes(connection.credential_wrapped_key),
        bytes(connection.credential_ciphertext),
    )


def _put_sealed(connection: Connection, sealed: Sealed) -> None:
    connection.credential_key_id = sealed.key_id
    connection.credential_wrapped_key = sealed.wrapped_key
    connection.credential_ciphertext = sealed.ciphertext
