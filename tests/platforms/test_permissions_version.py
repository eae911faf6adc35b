"""The version of the permissions moves with every change of what it stands for, and with nothing else."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models import Agent
from platforms.models import Connection, Grant, Platform, Scope
from platforms.permissions import permissions_of
from tests.world import Side, make_connection

NOW = timezone.now()


def version(side: Side, now: datetime = NOW) -> str:
    return permissions_of(agent_id=side.agent.pk, now=now).version


def grant(side: Side, scope: str) -> Any:
    return Grant.objects.filter(agent=side.agent, scope__name=scope)


def another_scope(side: Side) -> None:
    scope = Scope.objects.create(platform=side.platform, name="chat:admin", rules=["* /**"])
    Grant.objects.create(agent=side.agent, scope=scope, require_approval=False)


def another_platform(side: Side) -> None:
    platform = Platform.objects.create(
        owner=side.owner, slug="billing", name="B", base_url="https://b.example", auth={"type": "bearer"}
    )
    scope = Scope.objects.create(platform=platform, name="all", rules=["* /**"])
    Grant.objects.create(agent=side.agent, scope=scope)


def second(side: Side) -> Any:
    return Connection.objects.filter(platform=side.platform, label="Second")


MOVES: list[tuple[str, Callable[[Side], Any]]] = [
    ("a scope is granted", another_scope),
    ("a platform is granted", another_platform),
    ("a grant is revoked", lambda side: grant(side, "chat:read").update(revoked_at=NOW)),
    ("a grant ends", lambda side: grant(side, "chat:read").update(expires_at=NOW)),
    ("a scope asks", lambda side: grant(side, "chat:read").update(require_approval=True)),
    ("a scope asks no more", lambda side: grant(side, "chat:write").update(require_approval=False)),
    ("a scope is held to a connection", lambda side: grant(side, "chat:read").update(connection=side.connection)),
    ("a connection is added", lambda side: make_connection(side.platform, "t", label="Third", default=False)),
    ("a connection is gone", lambda side: second(side).delete()),
    ("a connection asks", lambda side: second(side).update(require_approval=True)),
    ("a connection is renamed", lambda side: second(side).update(label="Other")),
    ("a connection gets a hint", lambda side: second(side).update(hint="for tests")),
    ("a connection gets an identity", lambda side: second(side).update(identity={"email": "a@example.com"})),
    ("there is no default", lambda side: Connection.objects.update(is_default=False)),
    ("the platform is suspended", lambda side: Platform.objects.update(suspended_at=NOW)),
    ("a scope is renamed", lambda side: Scope.objects.filter(name="chat:read").update(name="chat:look")),
]

STAYS: list[tuple[str, Callable[[Side], Any]]] = [
    ("a connection is used", lambda side: Connection.objects.update(last_used_at=NOW, status="active")),
    ("a credential is refused", lambda side: Connection.objects.update(status="reauth_needed")),
    ("a credential is replaced", lambda side: Connection.objects.update(credential_version=2)),
    ("the agent was seen", lambda side: Agent.objects.update(last_seen_at=NOW, name="renamed")),
    ("a platform's name", lambda side: Platform.objects.update(name="Renamed")),
    ("a platform's address", lambda side: Platform.objects.update(base_url="https://elsewhere.example")),
    ("what a scope covers", lambda side: Scope.objects.update(rules=["GET /only"])),
    ("how long a grant will last", lambda side: Grant.objects.update(expires_at=NOW + timedelta(days=9))),
    ("when it was granted", lambda side: Grant.objects.update(created_at=NOW - timedelta(days=9))),
    ("a scope that is not granted", lambda side: Scope.objects.create(platform=side.platform, name="x", rules=[])),
    ("a revoked grant", lambda side: Grant.objects.create(
        agent=side.agent, scope=Scope.objects.create(platform=side.platform, name="y", rules=[]), revoked_at=NOW)),
    ("an empty identity", lambda side: Connection.objects.update(identity={})),
]  # fmt: skip


@pytest.fixture
def two(acme: Side) -> Side:
    make_connection(acme.platform, "t", label="Second", default=False)
    return acme


@pytest.mark.parametrize("change", [row[1] for row in MOVES], ids=[row[0] for row in MOVES])
def test_it_moves_and_moves_back(two: Side, change: Callable[[Side], Any]) -> None:
    before = version(two)
    with transaction.atomic():
        change(two)
        assert version(two) != before
        transaction.set_rollback(True)
    assert version(two) == before


ONLY: list[tuple[str, Callable[[Side], Any]]] = [
    ("it is renamed", lambda side: Connection.objects.update(label="Other")),
    ("it is gone", lambda side: Connection.objects.all().delete()),
    ("another takes its place", lambda side: (side.connection.delete(), make_connection(side.platform, "t"))),
    ("it is no default", lambda side: Connection.objects.update(is_default=False)),
    ("another is added", lambda side: make_connection(side.platform, "t", label="Second", default=False)),
]


@pytest.mark.parametrize("change", [row[1] for row in ONLY], ids=[row[0] for row in ONLY])
def test_it_moves_with_the_only_connection_too(acme: Side, change: Callable[[Side], Any]) -> None:
    assert "connections" not in permissions_of(agent_id=acme.agent.pk, now=NOW).platforms[0]
    before = version(acme)
    change(acme)
    assert version(acme) != before


@pytest.mark.parametrize("change", [row[1] for row in STAYS], ids=[row[0] for row in STAYS])
def test_it_stays(two: Side, change: Callable[[Side], Any]) -> None:
    before = version(two)
    change(two)
    assert version(two) == before


def test_time_alone_does_not_move_it(two: Side) -> None:
    Grant.objects.update(expires_at=NOW + timedelta(hours=2))
    assert version(two) == version(two, NOW + timedelta(hours=1)) != version(two, NOW + timedelta(hours=2))


def test_the_order_of_rows_does_not_move_it(two: Side) -> None:
    before = version(two)
    kept = list(Grant.objects.filter(agent=two.agent).order_by("-pk"))
    for row in kept:
        row.delete()
    for row in kept:
        row.pk = None
        row.save(force_insert=True)
    assert version(two) == before


@pytest.mark.parametrize("change", [row[1] for row in MOVES], ids=[row[0] for row in MOVES])
def test_nothing_that_others_have_moves_it(two: Side, stranger: Side, change: Callable[[Side], Any]) -> None:
    make_connection(stranger.platform, "t", label="Second", default=False)
    mine: dict[str, Any] = {"platform": list(Platform.objects.filter(owner=two.owner).values()),
            "scope": list(Scope.objects.filter(platform__owner=two.owner).values()),
            "connection": list(Connection.objects.filter(platform__owner=two.owner).values())}  # fmt: skip
    before = version(two)
    change(stranger)
    for model, name in ((Platform, "platform"), (Scope, "scope"), (Connection, "connection")):
        for row in mine[name]:  # some changes above are made to every row: take them back on ours
            model.objects.filter(pk=row["id"]).update(**{k: v for k, v in row.items() if k != "id"})
    assert version(two) == before


def effective(side: Side) -> tuple[list[tuple[Any, ...]], dict[str, list[tuple[Any, ...]]]]:
    """What the version stands for, told from the tables in another way than `platforms.permissions` does."""
    connections = list(Connection.objects.filter(platform__owner=side.owner).order_by("pk"))
    scopes: list[tuple[str, str, bool, tuple[UUID, ...]]] = []
    for row in Grant.objects.filter(agent=side.agent, revoked_at=None, scope__platform__suspended_at=None).order_by(
        "scope__name"
    ):
        if row.expires_at is None or row.expires_at > NOW:
            usable = [c for c in connections if row.connection_id in {None, c.pk}]
            asks = row.require_approval or (bool(usable) and all(c.require_approval for c in usable))
            scopes.append((row.scope.platform.slug, row.scope.name, asks, tuple(c.pk for c in usable)))
    shown = [c for c in connections if any(c.pk in usable for *_, usable in scopes)]
    facts = [(str(c.pk), c.label, c.is_default, c.require_approval, c.hint, str(c.identity or "")) for c in shown]
    return list(scopes), {"connections": facts}


def flip(rows: Any, field: str, on: Any, off: Any) -> None:
    """ON where it is not, else OFF."""
    for row in rows:
        type(row).objects.filter(pk=row.pk).update(**{field: off if getattr(row, field) == on else on})


def drop_or_make_second(side: Side) -> None:
    if not second(side).delete()[0]:
        make_connection(side.platform, "t", label="Second", default=False)


def main(side: Side) -> Any:
    return Connection.objects.filter(pk=side.connection.pk)


TOGGLES: dict[str, Callable[[Side], Any]] = {
    "ask for reads": lambda side: flip(grant(side, "chat:read"), "require_approval", True, False),
    "ask for writes": lambda side: flip(grant(side, "chat:write"), "require_approval", True, False),
    "revoke reads": lambda side: flip(grant(side, "chat:read"), "revoked_at", NOW, None),
    "revoke writes": lambda side: flip(grant(side, "chat:write"), "revoked_at", NOW, None),
    "end writes": lambda side: flip(grant(side, "chat:write"), "expires_at", NOW, None),
    "hold reads to one": lambda side: flip(grant(side, "chat:read"), "connection_id", side.connection.pk, None),
    "hold writes to one": lambda side: flip(grant(side, "chat:write"), "connection_id", side.connection.pk, None),
    "suspend": lambda side: flip(Platform.objects.filter(pk=side.platform.pk), "suspended_at", NOW, None),
    "main asks": lambda side: flip(main(side), "require_approval", True, False),
    "second asks": lambda side: flip(second(side), "require_approval", True, False),
    "second comes and goes": drop_or_make_second,
    "rename main": lambda side: flip(main(side), "label", "Renamed", "Main"),
    "hint": lambda side: flip(main(side), "hint", "a hint", ""),
    "identity": lambda side: flip(main(side), "identity", {"email": "a@example.com"}, None),
    "default": lambda side: flip(main(side), "is_default", True, False),
    "used": lambda side: flip(main(side), "last_used_at", NOW, None),
    "rename platform": lambda side: flip(Platform.objects.filter(pk=side.platform.pk), "name", "A", "B"),
    "rename agent": lambda side: flip(Agent.objects.filter(pk=side.agent.pk), "name", "A", "B"),
}


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=st.lists(st.sampled_from(sorted(TOGGLES)), min_size=1, max_size=12))
def test_two_states_have_one_version_exactly_if_they_allow_the_same(two: Side, steps: list[str]) -> None:
    with transaction.atomic():
        seen = [(effective(two), version(two))]
        for step in steps:
            TOGGLES[step](two)
            seen.append((effective(two), version(two)))
        transaction.set_rollback(True)
    for state, one in seen:
        for other_state, another in seen:
            assert (state == other_state) == (one == another), steps
