"""What a connection's row says of its credential: put in, opened, re-wrapped under another vault key, given up."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from django.db import transaction

from audit.events import JSON, Actor, Event, Result
from audit.records import record
from platforms import vault
from platforms.models import Connection, ConnectionStatus, credential_aad
from platforms.vault import EMPTY, Sealed, VaultError, open_sealed, rewrap, seal

ACTOR = Actor("system", "rotate_vault_key", "manage.py rotate_vault_key")


def put(connection: Connection, credential: str) -> None:
    """Seal the credential into the row, as its next version. Saving it is the caller's, who holds its lock."""
    connection.credential_version += 1
    _put_sealed(connection, seal(credential, aad=_aad(connection)))
    if connection.status == ConnectionStatus.REAUTH_NEEDED:
        connection.status = ConnectionStatus.UNTESTED


def holds(connection: Connection, credential: str) -> bool:
    """Whether this is the credential that is stored. One that no key opens is none."""
    try:
        return open_sealed(_sealed(connection), aad=_aad(connection)) == credential
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
    """
    vault.check_keys()
    last = UUID(int=0)
    while pk := Connection.objects.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True).first():
        rotated = _rotate_one(pk, forget_unreadable=forget_unreadable, request_id=request_id, now=now)
        if rotated is not None:
            yield rotated
        last = pk


def _rotate_one(pk: UUID, *, forget_unreadable: bool, request_id: UUID, now: datetime) -> Rotated | None:
    with transaction.atomic(durable=True):
        locking = Connection.objects.select_for_update(of=("self",), no_key=True)
        connection = locking.select_related("platform").filter(pk=pk).first()
        if connection is None:  # deleted a moment ago
            return None
        before = _sealed(connection)
        try:
            if before == EMPTY:
                outcome, after = Outcome.EMPTY, EMPTY
            else:
                if forget_unreadable:
                    open_sealed(before, aad=_aad(connection))
                after = rewrap(before, aad=_aad(connection))
                outcome = Outcome.CURRENT if after == before else Outcome.REWRAPPED
        except VaultError:
            outcome, after = (Outcome.FORGOTTEN, EMPTY) if forget_unreadable else (Outcome.UNREADABLE, before)
        if outcome in {Outcome.REWRAPPED, Outcome.FORGOTTEN}:
            _put_sealed(connection, after)
            if outcome == Outcome.FORGOTTEN:
                connection.credential_version += 1
                connection.status = ConnectionStatus.REAUTH_NEEDED
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
        platform=connection.platform.slug,
        label=connection.label,
        connection_id=connection.pk,
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
