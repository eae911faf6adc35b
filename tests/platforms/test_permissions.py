"""GET /v1/agent/permissions through HTTP: what is listed, under which names, and when 304 is the whole answer."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentStatus
from platforms.models import Connection, Grant, Platform, Scope
from tests.world import Side, bearer, make_connection


def get(client: Client, side: Side, **headers: str) -> Any:
    return client.get("/v1/agent/permissions", headers=bearer(side.agent) | headers)


def entry(client: Client, side: Side) -> dict[str, Any]:
    (only,) = get(client, side).json()["platforms"]
    assert isinstance(only, dict)
    return only


def nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(nulls(item) for item in value.values())
    return any(nulls(item) for item in value) if isinstance(value, list) else value is None


def test_both_levels_carry_the_list_and_the_version(client: Client, acme: Side) -> None:
    body = get(client, acme).json()
    assert body["platforms"] == body["data"]["platforms"]
    assert body["version"] == body["data"]["version"]
    assert int(body["version"], 16)
    assert body["platforms"] == [
        {
            "platformId": "acme-chat",
            "platformName": "Acme Chat",
            "scopes": ["chat:read", "chat:write"],
            "requireApproval": False,
            "approvalScopes": ["chat:write"],
        }
    ]
    assert not nulls(body)


def test_an_agent_without_grants_gets_an_empty_list_with_a_version(client: Client, acme: Side) -> None:
    Grant.objects.all().delete()
    body = get(client, acme).json()
    assert body["platforms"] == []
    assert body["version"]


def test_a_platform_asks_for_every_call_when_all_its_scopes_do(client: Client, acme: Side) -> None:
    Grant.objects.update(require_approval=True)
    assert entry(client, acme)["requireApproval"] is True
    assert entry(client, acme)["approvalScopes"] == ["chat:read", "chat:write"]


def test_the_only_connection_that_asks_makes_every_scope_ask(client: Client, acme: Side) -> None:
    Connection.objects.update(require_approval=True)
    assert entry(client, acme)["requireApproval"] is True
    assert "connections" not in entry(client, acme)


def test_no_scope_that_asks_leaves_the_key_out(client: Client, acme: Side) -> None:
    Grant.objects.update(require_approval=False)
    assert "approvalScopes" not in entry(client, acme)


def test_several_connections_are_listed_with_what_tells_them_apart(client: Client, acme: Side) -> None:
    other = make_connection(acme.platform, "t", label="Billing", default=False)
    Connection.objects.filter(pk=other.pk).update(
        require_approval=True, hint="invoices only", identity={"email": "billing@acme.example", "account_id": ""}
    )
    Grant.objects.filter(pk=acme.grants["chat:write"].pk).update(connection=acme.connection)
    assert entry(client, acme)["connections"] == [
        {
            "connection_id": str(other.pk),
            "label": "Billing",
            "is_default": False,
            "requireApproval": True,
            "scopes": ["chat:read"],
            "identity": {"email": "billing@acme.example"},
            "hint": "invoices only",
        },
        {"connection_id": str(acme.connection.pk), "label": "Main", "is_default": True, "requireApproval": False},
    ]


@pytest.mark.parametrize("change", [{"hint": "the team's account"}, {"identity": {"display_name": "Acme"}}])
def test_a_single_connection_is_listed_when_there_is_something_to_know(
    client: Client, acme: Side, change: dict[str, Any]
) -> None:
    Connection.objects.update(**change)
    (listed,) = entry(client, acme)["connections"]
    assert {key: listed[key] for key in change} == change


def test_connections_that_no_grant_may_use_are_not_shown(client: Client, acme: Side) -> None:
    make_connection(acme.platform, "t", label="Secret project", default=False)
    Grant.objects.update(connection=acme.connection)
    assert "connections" not in entry(client, acme)


def test_graphql_is_said(client: Client, acme: Side) -> None:
    Platform.objects.update(call_style="graphql")
    assert entry(client, acme)["callStyle"] == "graphql"


def test_a_time_boxed_grant_says_how_long_it_lasts_and_then_is_gone(client: Client, acme: Side) -> None:
    grant = Grant.objects.filter(pk=acme.grants["chat:write"].pk)
    grant.update(expires_at=timezone.now() + timedelta(seconds=90))
    assert 80 < entry(client, acme)["expiresInSeconds"] < 90
    grant.update(expires_at=timezone.now())
    assert entry(client, acme)["scopes"] == ["chat:read"]
    assert "expiresInSeconds" not in entry(client, acme)


def test_a_suspended_platform_is_not_listed(client: Client, acme: Side) -> None:
    Platform.objects.update(suspended_at=timezone.now())
    assert get(client, acme).json()["platforms"] == []


def test_nothing_of_a_stranger_is_listed(client: Client, acme: Side, stranger: Side) -> None:
    Platform.objects.filter(owner=stranger.owner).update(name="Theirs")
    assert "Theirs" not in get(client, acme).content.decode()
    assert str(stranger.connection.pk) not in get(client, acme).content.decode()


# (what the client sends with the version it has, whether that is a match)
CONDITIONS = [
    ('"{}"', True),
    ('W/"{}"', True),
    ('"0", "{}"', True),
    ('"0",W/"{}"', True),
    ("*", True),
    ('"0"', False),
    ("{}", False),
    ('"{}', False),
    ("", False),
    ('"é", nonsense', False),
]


@pytest.mark.parametrize(("condition", "match"), CONDITIONS)
def test_an_unchanged_list_is_answered_without_a_body(client: Client, acme: Side, condition: str, match: bool) -> None:
    first = get(client, acme)
    assert first["ETag"] == f'"{first.json()["version"]}"'
    again = get(client, acme, **{"If-None-Match": condition.format(first.json()["version"])})
    assert again.status_code == (304 if match else 200)
    assert (again.content == b"") is match
    assert again["ETag"] == first["ETag"]


def test_a_request_without_a_condition_is_never_a_304(client: Client, acme: Side) -> None:
    assert [get(client, acme).status_code for _ in range(2)] == [200, 200]


def test_the_list_takes_the_same_number_of_queries_for_many_platforms(
    client: Client, acme: Side, django_assert_max_num_queries: Any
) -> None:
    for number in range(10):
        platform = Platform.objects.create(
            owner=acme.owner, slug=f"p{number}", name="P", base_url="https://p.example", auth={"type": "bearer"}
        )
        make_connection(platform, "t")
        scope = Scope.objects.create(platform=platform, name="all", rules=["* /**"])
        Grant.objects.create(agent=acme.agent, scope=scope)
    headers = bearer(acme.agent)
    client.get("/v1/agent/permissions", headers=headers)
    with django_assert_max_num_queries(3):
        assert len(client.get("/v1/agent/permissions", headers=headers).json()["platforms"]) == 11


def test_an_agent_that_is_not_active_learns_nothing(client: Client, acme: Side) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=AgentStatus.SUSPENDED)
    response = get(client, acme)
    assert (response.status_code, response.json()["reason"]) == (403, "agent_suspended")
    assert client.get("/v1/agent/permissions").status_code == 401
