"""An admin connects platforms, replaces credentials, and says what connections and scopes are for.

Locks are taken in one order: the owner, the platform, its connections, grants by id, then (in `audit.records`) the head
of the chain.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from agents.lifecycle import NotPossible
from agents.models import Member, Owner
from audit.events import Event
from platforms import stored_credentials
from platforms.credentials import parse_auth
from platforms.definitions import Definition, ScopeDefinition
from platforms.disconnecting import restore_lost
from platforms.grants import Change
from platforms.models import Connection, Platform, Scope
from platforms.refresh_grants import check_stored
from platforms.setup import (
    Details,
    Outdated,
    changed_step_ups,
    changing,
    check_admin,
    locked_connection,
    on_record,
    platform_facts,
    put_connection,
    put_details,
    put_platform,
    put_scope,
    step_ups,
)
from platforms.vault import VaultError


class Refused(ValueError):
    """What was filled in will not do. `field` is where, the text one sentence without secrets."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def add_platform(*, member: Member, definition: Definition, request_id: UUID, now: datetime) -> Platform:
    """A new platform without a connection. Raises NotAllowed, Refused (its id is taken)."""
    with changing(member, request_id=request_id, now=now) as change:
        return _make(member, definition, change)


def connect(
    *,
    member: Member,
    platform: Platform | Definition,
    label: str,
    credential: str,
    details: Details,
    restore: bool,
    request_id: UUID,
    now: datetime,
) -> Connection:
    """A new connection with its credential sealed, for a platform of the owner's or for one that is made with it.

    With `restore`, permissions that went with an earlier connection are given again. Not inside a transaction: the
    vault's key may be across a network. Locks: the owner for a new platform, the platform.

    Raises:
        NotAllowed: the member is no admin.
        Refused: the credential cannot be one, the label or the platform's id is taken.
        NotPossible: the vault has no key to seal it with.
    """
    check_admin(member)
    if isinstance(platform, Definition):
        _refuse_taken(member, platform)
    elif Connection.objects.filter(platform=platform, label=label).exists():
        raise Refused("label", "There is a connection of this label: reauthenticate that one, or choose another label.")
    intake = _take_in(None, platform.auth, credential)
    with changing(member, request_id=request_id, now=now) as change:
        if isinstance(platform, Definition):
            platform = _make(member, platform, change)
        platform = Platform.objects.select_for_update(no_key=True).get(pk=platform.pk)
        try:
            connection = put_connection(platform=platform, label=label, intake=intake, details=details, change=change)
        except Outdated as error:
            raise Refused("label", "Somebody else has just made a connection of this label.") from error
        if restore:
            restore_lost(connection, change)
    return connection


def reauthenticate(*, member: Member, connection_id: UUID, credential: str, request_id: UUID, now: datetime) -> None:
    """Put another credential in place of the stored one; what the connection is for stays.

    Raises as `connect` does, and Connection.DoesNotExist.
    """
    check_admin(member)
    connection = Connection.objects.for_owner(member.owner).select_related("platform").get(pk=connection_id)
    intake = _take_in(connection, connection.platform.auth, credential)
    with changing(member, request_id=request_id, now=now) as change:
        platform = Platform.objects.select_for_update(no_key=True).get(pk=connection.platform_id)
        try:
            put_connection(platform=platform, label=connection.label, intake=intake, details=None, change=change)
        except Outdated as error:
            raise Refused("credential", "Somebody else has just changed this connection: look again.") from error


def change_connection(
    *, member: Member, connection_id: UUID, label: str, details: Details, request_id: UUID, now: datetime
) -> Connection:
    """What the connection is called and for.

    Raises NotAllowed, Connection.DoesNotExist, Refused (the label is taken).
    """
    with changing(member, request_id=request_id, now=now) as change:
        connection = locked_connection(member, connection_id)
        if connection.label != label:
            if Connection.objects.filter(platform=connection.platform_id, label=label).exists():
                raise Refused("label", "There is another connection of this label.")
            was, connection.label = connection.label, label
            connection.save(update_fields=["label"])
            on_record(change, Event.PLATFORM_CHANGED, connection.platform, {"connection": label, "was_called": was})
        put_details(connection, details, change=change)
    return connection


def change_platform(
    *, member: Member, slug: str, name: str, honours_idempotency_key: bool, request_id: UUID, now: datetime
) -> Platform:
    """Raises NotAllowed, Platform.DoesNotExist."""
    with changing(member, request_id=request_id, now=now) as change:
        platform = Platform.objects.for_owner(member.owner).select_for_update(no_key=True).get(slug=slug)
        wanted = {"name": name, "honours_idempotency_key": honours_idempotency_key}
        if any(getattr(platform, field) != value for field, value in wanted.items()):
            platform.name, platform.honours_idempotency_key = name, honours_idempotency_key
            platform.save(update_fields=list(wanted))
            on_record(change, Event.PLATFORM_CHANGED, platform, platform_facts(platform) | {"name": name})
    return platform


def change_scope(
    *, member: Member, slug: str, definition: ScopeDefinition, is_new: bool, request_id: UUID, now: datetime
) -> Platform:
    """Add a scope, or make one of the platform's cover something else, for everybody who holds it.

    Raises NotAllowed, Platform.DoesNotExist, Scope.DoesNotExist, Refused (a new one whose name is taken).
    """
    with changing(member, request_id=request_id, now=now) as change:
        platform = Platform.objects.for_owner(member.owner).select_for_update(no_key=True).get(slug=slug)
        scope = Scope.objects.filter(platform=platform, name=definition.name).first()
        if is_new and scope is not None:
            raise Refused("name", "There is a scope of this name.")
        if not is_new and scope is None:
            raise Scope.DoesNotExist
        demanded = step_ups(platform)
        if put_scope(platform, definition):
            facts = platform_facts(platform) | {"scopes": [definition.name], "rules": list(definition.rules)}
            facts |= changed_step_ups(demanded, step_ups(platform))
            on_record(change, Event.PLATFORM_CHANGED, platform, facts)
    return platform


def _take_in(connection: Connection | None, auth: Any, credential: str) -> stored_credentials.Intake:
    try:
        check_stored(parse_auth(auth), credential)
    except ValueError as error:
        raise Refused("credential", str(error)) from error
    try:
        return stored_credentials.take_in(connection, credential)
    except VaultError as error:
        raise NotPossible(f"The credential cannot be sealed. {error}") from error


def _refuse_taken(member: Member, definition: Definition) -> None:
    if Platform.objects.for_owner(member.owner).filter(slug=definition.slug).exists():
        sentence = f"You have a platform {definition.slug} already: add a connection there, or choose another id."
        raise Refused("slug", sentence)


def _make(member: Member, definition: Definition, change: Change) -> Platform:
    """One new platform of an owner's at a time. Raises Refused."""
    Owner.objects.select_for_update(no_key=True).get(pk=member.owner_id)
    _refuse_taken(member, definition)
    return put_platform(owner=member.owner, definition=definition, change=change)
