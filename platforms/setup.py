"""Writing down what an owner's platforms and connections are, for the pages and for provisioning alike.

The caller of `put_…` holds the transaction (`changing` is an admin's), and the record goes through `Change.write`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from agents.lifecycle import NotAllowed
from agents.models import Member, Owner
from audit.events import JSON, Event, Result
from audit.records import record
from platforms import destinations, stored_credentials
from platforms.definitions import Definition, ScopeDefinition, mcp_test_call
from platforms.grants import Change, change_of
from platforms.models import CallStyle, Connection, ConnectionStatus, Platform, Scope
from platforms.stored_credentials import Intake


class Outdated(Exception):
    """The credential was changed by somebody else while another one was sealed for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What an owner says of a connection, beside its credential. `identity`: None leaves what a test has found."""

    is_default: bool
    require_approval: bool
    hint: str
    identity: Mapping[str, JSON] | None = None


def check_admin(member: Member) -> None:
    """Raises NotAllowed."""
    if not member.may_administer:
        raise NotAllowed


@contextmanager
def changing(member: Member, *, request_id: UUID, now: datetime) -> Iterator[Change]:
    """The transaction of an admin's change. Its rows are put on record at the end, when every other row is locked (see
    `audit.records.record`).

    Raises:
        NotAllowed: the member is no admin.
    """
    check_admin(member)
    rows: list[dict[str, Any]] = []

    def keep(**row: Any) -> None:
        rows.append(row)

    with transaction.atomic(durable=True):
        yield replace(change_of(member, request_id=request_id, now=now), write=keep)
        for row in rows:
            record(**row)


def locked_connection(member: Member, connection_id: UUID, *, for_deletion: bool = False) -> Connection:
    """The connection, locked after its platform, so that two that go at once see each other.

    Raises Connection.DoesNotExist.
    """
    connections = Connection.objects.for_owner(member.owner)
    platform_id = connections.values_list("platform_id", flat=True).get(pk=connection_id)
    Platform.objects.select_for_update(no_key=True).get(pk=platform_id)
    locking = connections.select_for_update(of=("self",), no_key=not for_deletion)
    return locking.select_related("platform").get(pk=connection_id)


def put_platform(*, owner: Owner, definition: Definition, change: Change) -> Platform:
    """The owner's platform, from now on as defined. Scopes that the definition does not name stay as they are.

    Locks: the platform and its scopes, where they change.
    """
    wanted: dict[str, Any] = {
        "name": definition.name,
        "base_url": definition.base_url,
        "auth": dict(definition.auth),
        "call_style": definition.call_style,
        "body_kind": definition.body_kind,
        "honours_idempotency_key": definition.honours_idempotency_key,
    }
    if definition.category is not None:
        wanted["category"] = definition.category
    if definition.call_style == CallStyle.MCP:
        wanted["test_call"] = mcp_test_call()
    elif definition.test_call is not None:
        wanted["test_call"] = dict(definition.test_call)
    platform, created = Platform.objects.get_or_create(owner=owner, slug=definition.slug, defaults=wanted)
    before = {name: getattr(platform, name) for name in wanted}
    if before != wanted:
        for name, value in wanted.items():
            setattr(platform, name, value)
        platform.save(update_fields=list(wanted))
        if not created:
            destinations.follow(platform, base_url=before["base_url"], auth=before["auth"])
    demanded = step_ups(platform)
    scopes: list[JSON] = [scope.name for scope in definition.scopes if put_scope(platform, scope)]
    if created or before != wanted or scopes:
        facts: dict[str, JSON] = {"scopes": scopes, **changed_step_ups(demanded, step_ups(platform))}
        on_record(change, Event.PLATFORM_CHANGED, platform, platform_facts(platform) | facts)
    return platform


def platform_facts(platform: Platform) -> dict[str, JSON]:
    """What the record says of a platform that was changed."""
    return {"base_url": platform.base_url, "honours_idempotency_key": platform.honours_idempotency_key}


def step_ups(platform: Platform) -> dict[str, str]:
    """What each scope demands of who decides."""
    return dict(Scope.objects.filter(platform=platform).values_list("name", "step_up"))


def changed_step_ups(before: dict[str, str], after: dict[str, str]) -> dict[str, JSON]:
    """For the record: each scope whose demand was changed, with what it was. Lowering one has to leave a trace."""
    changed: dict[str, JSON] = {
        name: {"before": before.get(name, ""), "after": demand}
        for name, demand in after.items()
        if before.get(name, "") != demand
    }
    return {"step_up": changed} if changed else {}


def put_scope(platform: Platform, definition: ScopeDefinition) -> bool:
    """The scope, from now on as defined; whether that was a change. To be put on record by the caller."""
    wanted: dict[str, Any] = {"rules": list(definition.rules), "step_up": definition.step_up}
    if definition.covers is not None:
        wanted["covers"] = definition.covers
    scope, created = Scope.objects.get_or_create(platform=platform, name=definition.name, defaults=wanted)
    if not created and {name: getattr(scope, name) for name in wanted} == wanted:
        return False
    Scope.objects.filter(pk=scope.pk).update(**wanted)
    return True


def put_connection(
    *, platform: Platform, label: str, intake: Intake, details: Details | None, change: Change
) -> Connection:
    """The platform's connection of this label, from now on with this credential and these details, None for as is.

    Locks: the connection, then those that are the default no more.

    Raises:
        Outdated: the row is not any more the one that `intake` was made for.
    """
    connection = Connection.objects.select_for_update(of=("self",), no_key=True).filter(
        platform=platform, label=label
    ).first()  # fmt: skip
    if not intake.fits(connection):
        raise Outdated
    if intake.sealed is None and connection is not None:
        if destinations.bind(connection, platform):
            connection.save(update_fields=["destination"])
            facts: dict[str, JSON] = {"connection": connection.label, "changed": ["destination"]}
            on_record(change, Event.PLATFORM_CHANGED, platform, platform_facts(platform) | facts)
        if details is not None:
            put_details(connection, details, change=change)
        return connection
    event = Event.PLATFORM_CONNECTED if connection is None else Event.PLATFORM_REAUTHENTICATED
    connection = connection or Connection(pk=intake.connection_id, platform=platform, label=label)
    stored_credentials.put(connection, intake)
    destinations.bind(connection, platform)
    connection.status, connection.identity = ConnectionStatus.UNTESTED, None  # whose this one is nobody knows yet
    if details is not None:
        _set(connection, details)
    connection.save()
    on_record(
        change,
        event,
        platform,
        {"label": connection.label, "credential_version": connection.credential_version},
    )
    return connection


def put_details(connection: Connection, details: Details, *, change: Change) -> None:
    """The locked connection, from now on with these details."""
    changed: list[JSON] = list(_set(connection, details))
    if changed:
        connection.save()
        on_record(
            change, Event.PLATFORM_CHANGED, connection.platform, {"connection": connection.label, "changed": changed}
        )


def on_record(change: Change, event: Event, platform: Platform, facts: dict[str, JSON]) -> None:
    change.write(
        event=event,
        result=Result.INFO,
        owner_id=platform.owner_id,
        actor=change.actor,
        now=change.now,
        request_id=change.request_id,
        platform=platform.slug,
        metadata=facts,
    )


def _set(connection: Connection, details: Details) -> list[str]:
    """Put the details into the row, unsaved; what was changed. There is one default only."""
    if details.is_default:
        others = Connection.objects.filter(platform=connection.platform_id, is_default=True).exclude(pk=connection.pk)
        others.update(is_default=False)
    wanted: dict[str, Any] = {
        "is_default": details.is_default,
        "require_approval": details.require_approval,
        "hint": details.hint,
    }
    if details.identity is not None:
        wanted["identity"] = dict(details.identity)
    changed = [name for name, value in wanted.items() if getattr(connection, name) != value]
    for name in changed:
        setattr(connection, name, wanted[name])
    return changed
