"""Which grant, which connection, and what the agent is told of the choice: the one question before every call."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection as database
from django.utils import timezone

from agents.models import Agent, AgentStatus, Owner
from platforms import coverage
from platforms.coverage import Coverage, NotConnected, NotCovered, find_coverage, may_use
from platforms.endpoints import parse_endpoint
from platforms.models import Connection, Grant, Platform, Scope
from tests.world import Side, make_connection

NOW = timezone.now()


def cover(side: Side, **change: Any) -> Coverage:
    question: dict[str, Any] = {
        "owner_id": side.owner.pk,
        "agent_id": side.agent.pk,
        "platform": "acme-chat",
        "scope": "chat:read",
        "method": "GET",
        "endpoint": parse_endpoint("/api/messages"),
        "now": NOW,
    }
    return find_coverage(**question | change)


def refusal(side: Side, **change: Any) -> str:
    with pytest.raises(NotCovered) as refused:
        cover(side, **change)
    return refused.value.reason


@pytest.fixture
def second(acme: Side) -> Connection:
    return make_connection(acme.platform, "tok-2", label="Second", default=False)


def no_default() -> None:
    Connection.objects.update(is_default=False)


def hold(side: Side, connection: Connection) -> None:
    Grant.objects.filter(agent=side.agent).update(connection=connection)


def test_the_only_connection_needs_no_choice_and_no_disclosure(acme: Side) -> None:
    no_default()
    found = cover(acme)
    assert (found.connection_id, found.disclosure) == (acme.connection.pk, None)


def test_the_default_is_used_and_the_others_are_disclosed(acme: Side, second: Connection) -> None:
    found = cover(acme)
    assert found.connection_id == acme.connection.pk
    assert found.disclosure == {
        "used": str(acme.connection.pk),
        "label": "Main",
        "defaulted": True,
        "others": [{"connection_id": str(second.pk), "label": "Second"}],
        "hint": coverage.CHOICE_HINT,
    }


def test_others_are_listed_by_label_whatever_the_order_of_rows(acme: Side) -> None:
    made = [make_connection(acme.platform, "t", label=label, default=False) for label in ("c", "a", "b")]
    disclosure = cover(acme).disclosure
    assert disclosure is not None
    assert [other["label"] for other in disclosure["others"]] == ["a", "b", "c"]
    assert {other["connection_id"] for other in disclosure["others"]} == {str(one.pk) for one in made}


def test_a_connection_that_the_call_names_is_used_without_disclosure(acme: Side, second: Connection) -> None:
    found = cover(acme, connection_id=second.pk)
    assert (found.connection_id, found.connection_label, found.disclosure) == (second.pk, "Second", None)
    assert found.credential() == "tok-2"
    assert cover(acme, connection_id=acme.connection.pk).disclosure is None


def test_the_connection_of_the_grant_wins_over_the_default(acme: Side, second: Connection) -> None:
    hold(acme, second)
    found = cover(acme)
    assert (found.connection_id, found.disclosure) == (second.pk, None)


def test_a_call_cannot_leave_the_connection_of_its_grant(acme: Side, second: Connection) -> None:
    hold(acme, second)
    with pytest.raises(NotConnected):
        cover(acme, connection_id=acme.connection.pk)


def test_several_without_a_default_are_not_guessed_between(acme: Side, second: Connection) -> None:
    no_default()
    with pytest.raises(NotConnected, match="name a connection_id"):
        cover(acme)
    assert cover(acme, connection_id=second.pk).connection_id == second.pk


def test_a_connection_that_refuses_its_credential_is_not_silently_replaced(acme: Side, second: Connection) -> None:
    Connection.objects.filter(pk=acme.connection.pk).update(status="reauth_needed")
    assert cover(acme).connection_id == acme.connection.pk


@pytest.mark.parametrize("wanted", [uuid4(), UUID(int=0)])
def test_an_unknown_connection_is_not_connected(acme: Side, wanted: UUID) -> None:
    with pytest.raises(NotConnected):
        cover(acme, connection_id=wanted)


def test_connections_of_a_stranger_or_of_another_platform_are_not_taken(acme: Side, stranger: Side) -> None:
    elsewhere = Platform.objects.create(
        owner=acme.owner, slug="other", name="O", base_url="https://o.example", auth={"type": "bearer"}
    )
    for foreign in (stranger.connection, make_connection(elsewhere, "t")):
        with pytest.raises(NotConnected):
            cover(acme, connection_id=foreign.pk)


def test_no_connection_at_all(acme: Side) -> None:
    Connection.objects.all().delete()
    with pytest.raises(NotConnected, match="no such connection"):
        cover(acme)


@pytest.mark.parametrize(("grant_asks", "connection_asks"), [(False, False), (True, False), (False, True)])
def test_grant_or_connection_ask(acme: Side, grant_asks: bool, connection_asks: bool) -> None:
    Grant.objects.update(require_approval=grant_asks)
    Connection.objects.update(require_approval=connection_asks)
    asks = grant_asks or connection_asks
    assert cover(acme).require_approval is asks
    question: dict[str, Any] = {"agent_id": acme.agent.pk, "platform": "acme-chat", "scope": "chat:read", "now": NOW}
    assert may_use(owner_id=acme.owner.pk, **question) is asks


# (what happens, the reason that the agent is told)
REASONS: list[tuple[str, Any, str]] = [
    ("the grant is revoked", lambda: Grant.objects.update(revoked_at=NOW), "scope_not_granted"),
    ("the grant has ended", lambda: Grant.objects.update(expires_at=NOW), "grant_expired"),
    ("the platform is suspended", lambda: Platform.objects.update(suspended_at=NOW), "platform_suspended"),
    ("the agent is suspended", lambda: Agent.objects.update(status=AgentStatus.SUSPENDED), "agent_suspended"),
    ("the agent is revoked", lambda: Agent.objects.update(status=AgentStatus.REVOKED), "agent_revoked"),
    ("the scope covers something else", lambda: Scope.objects.update(rules=["GET /x"]), "endpoint_scope_mismatch"),
    ("the scope covers nothing", lambda: Scope.objects.update(rules=[]), "endpoint_scope_mismatch"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in REASONS], ids=[row[0] for row in REASONS])
def test_each_refusal_has_its_reason(acme: Side, change: Any, reason: str) -> None:
    change()
    assert refusal(acme) == reason


def test_a_grant_counts_until_the_very_moment_it_ends(acme: Side) -> None:
    Grant.objects.update(expires_at=NOW)
    assert cover(acme, now=NOW - timedelta(microseconds=1)).scope == "chat:read"
    assert refusal(acme, now=NOW) == "grant_expired"


def test_an_ended_grant_says_so_before_anything_about_the_platform(acme: Side) -> None:
    Grant.objects.update(expires_at=NOW)
    Platform.objects.update(suspended_at=NOW)
    assert refusal(acme) == "grant_expired"


def test_what_a_stranger_has_is_as_good_as_absent(acme: Side, stranger: Side) -> None:
    assert refusal(acme, agent_id=stranger.agent.pk) == "scope_not_granted"
    assert refusal(acme, owner_id=stranger.owner.pk) == "scope_not_granted"
    Grant.objects.filter(agent=stranger.agent).delete()
    Grant.objects.create(agent=stranger.agent, scope=acme.grants["chat:read"].scope)  # a row that nothing makes
    assert refusal(stranger, owner_id=acme.owner.pk, agent_id=stranger.agent.pk) == "scope_not_granted"


def test_graphql_goes_to_the_base_url_itself(acme: Side) -> None:
    Platform.objects.update(base_url="https://api.example/graphql", call_style="graphql")
    Scope.objects.update(rules=["POST /"])
    assert cover(acme, method="POST", endpoint=parse_endpoint("/")).url == "https://api.example/graphql"
    assert refusal(acme, method="GET", endpoint=parse_endpoint("/")) == "endpoint_scope_mismatch"
    assert refusal(acme, method="POST", endpoint=parse_endpoint("/admin")) == "endpoint_scope_mismatch"


def crowd(owner: Owner, size: int) -> None:
    """Enough rows for the planner to have a choice."""
    agents = Agent.objects.bulk_create(Agent(owner=owner, name=f"a{n}", status="active") for n in range(size))
    platforms = Platform.objects.bulk_create(
        Platform(owner=owner, slug=f"p{n}", name="P", base_url="https://p.example", auth={}) for n in range(size)
    )
    scopes = Scope.objects.bulk_create(Scope(platform=one, name="all", rules=[]) for one in platforms)
    Grant.objects.bulk_create(Grant(agent=agent, scope=scope) for agent, scope in zip(agents, scopes, strict=True))
    blank = {"credential_key_id": "k1", "credential_wrapped_key": b"", "credential_ciphertext": b""}
    Connection.objects.bulk_create(Connection(platform=one, label="Main", **blank) for one in platforms)


def test_it_takes_one_round_trip_over_indexes_alone(acme: Side, django_assert_num_queries: Any) -> None:
    crowd(acme.owner, 3000)
    with django_assert_num_queries(1):
        cover(acme)
    question: dict[str, Any] = {
        "owner": acme.owner.pk,
        "agent": acme.agent.pk,
        "platform": "p7",
        "scope": "all",
        "connection": None,
    }
    with database.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("EXPLAIN " + coverage._SQL, question)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Seq Scan" not in plan, plan
    assert "platform_owner_slug_unique" in plan, plan
