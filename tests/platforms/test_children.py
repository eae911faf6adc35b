"""Child agents through HTTP: what they get, and that they cannot mint, exceed their parent, or outlive anything."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import lifecycle
from agents.models import Agent, AgentStatus
from audit.models import AuditEvent
from platforms.coverage import NotCovered, find_coverage
from platforms.endpoints import parse_endpoint
from platforms.models import Connection, Grant, Platform, Scope
from tests.world import CountingPlatform, Side, bearer, make_connection

READ = {"platform": "acme-chat", "endpoint": "/api/messages", "method": "GET", "scope": "chat:read"}
BOTH = {"grants": [{"platform": "acme-chat", "scopes": ["chat:read", "chat:write"]}]}


def mint(client: Client, side: Side, body: Any = BOTH, headers: Any = None) -> Any:
    return client.post(
        "/v1/agents/children",
        json.dumps(body),
        content_type="application/json",
        headers=headers or bearer(side.agent),
    )


def child_of(client: Client, side: Side, **body: Any) -> tuple[Agent, dict[str, str]]:
    answer = mint(client, side, BOTH | body).json()
    return Agent.objects.get(pk=answer["child_agent_id"]), {"Authorization": f"Bearer {answer['bearer_token']}"}


def call(client: Client, headers: dict[str, str], **change: Any) -> Any:
    return client.post("/v1/actions", READ | change, content_type="application/json", headers=headers)


def test_a_child_gets_what_was_asked_for_of_what_its_parent_has(client: Client, acme: Side) -> None:
    wishes = [
        {"platform": "acme-chat", "scopes": ["chat:read", "chat:admin"], "connection_id": None},
        {"platform": "stripe", "scopes": ["charge"]},
    ]
    response = mint(client, acme, {"grants": wishes, "ttl_seconds": 60, "name": "worker-a"})
    assert response.status_code == 201
    assert response["Cache-Control"] == "no-store"
    body = response.json()
    assert set(body) == {"child_agent_id", "bearer_token", "expires_at", "granted"}
    assert body["granted"] == [{"platform": "acme-chat", "scopes": ["chat:read"]}]
    child = Agent.objects.get(pk=body["child_agent_id"])
    assert (child.parent, child.owner, child.name, child.status) == (acme.agent, acme.owner, "worker-a", "active")
    assert datetime.fromisoformat(body["expires_at"]) == child.expires_at
    assert len(body["bearer_token"].split(".")) == 3
    assert [(event.event, event.actor_id) for event in AuditEvent.objects.order_by("seq")] == [
        ("agent.created", acme.agent.pk),
        ("permission.granted", acme.agent.pk),
    ]
    assert body["bearer_token"] not in json.dumps(list(AuditEvent.objects.values()), default=str)


def test_the_child_calls_with_its_own_name_on_the_record(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    child, headers = child_of(client, acme)
    assert call(client, headers).status_code == 200
    assert AuditEvent.objects.latest("seq").agent_id == child.pk
    assert [request["path"] for request in platform.requests] == ["/api/messages"]
    listed = client.get("/v1/agent/permissions", headers=headers).json()["platforms"]
    assert [entry["scopes"] for entry in listed] == [["chat:read", "chat:write"]]
    assert 0 < listed[0]["expiresInSeconds"] <= 900


def test_the_lifetime_is_fifteen_minutes_unless_said(client: Client, acme: Side) -> None:
    child, _ = child_of(client, acme)
    assert child.expires_at is not None
    assert abs(child.expires_at - timezone.now() - timedelta(seconds=900)) < timedelta(seconds=30)


def test_a_name_may_be_given_twice(client: Client, acme: Side) -> None:
    assert [mint(client, acme, BOTH | {"name": "same"}).status_code for _ in range(2)] == [201, 201]
    assert mint(client, acme, BOTH | {"name": None}).status_code == 201


def test_a_child_cannot_mint(client: Client, acme: Side) -> None:
    _, headers = child_of(client, acme)
    refused = mint(client, acme, headers=headers)
    assert (refused.status_code, refused.json()["reason"]) == (403, "delegation_depth_exceeded")
    assert Agent.objects.filter(parent__isnull=False).count() == 1
    assert AuditEvent.objects.latest("seq").reason == "delegation_depth_exceeded"


def test_a_child_cannot_ask_for_more(client: Client, acme: Side) -> None:
    _, headers = child_of(client, acme)
    refused = client.post("/v1/access-request", READ, content_type="application/json", headers=headers)
    assert (refused.status_code, refused.json()["reason"]) == (403, "delegation_depth_exceeded")


def test_nothing_left_is_no_child(client: Client, acme: Side, stranger: Side) -> None:
    Scope.objects.create(platform=acme.platform, name="chat:admin", rules=[])
    for grants in (
        [],
        [{"platform": "acme-chat", "scopes": []}],
        [{"platform": "acme-chat", "scopes": ["chat:admin"]}],
    ):
        refused = mint(client, acme, {"grants": grants})
        assert (refused.status_code, refused.json()["reason"]) == (403, "no_scopes_after_attenuation")
    Grant.objects.filter(agent=acme.agent).update(expires_at=timezone.now())
    assert mint(client, acme).json()["reason"] == "no_scopes_after_attenuation"
    assert not Agent.objects.filter(parent__isnull=False).exists()


def test_a_child_is_asked_for_where_its_parent_is(client: Client, acme: Side) -> None:
    _, headers = child_of(client, acme)
    asked = call(client, headers, scope="chat:write", method="POST", data={})
    assert asked.status_code == 202
    assert call(client, headers).status_code == 200
    Grant.objects.filter(agent=acme.agent).update(require_approval=True)
    assert call(client, headers).status_code == 202


def test_a_child_keeps_to_its_parents_connection_also_when_that_changes(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    second = make_connection(acme.platform, platform.token, label="Second", default=False)
    _, free = child_of(client, acme)
    assert call(client, free, connection_id=str(second.pk)).status_code == 200
    Grant.objects.filter(agent=acme.agent).update(connection=acme.connection)
    assert call(client, free, connection_id=str(second.pk)).status_code == 412
    body = mint(client, acme).json()
    assert body["granted"][0]["connection_id"] == str(acme.connection.pk)
    wish = {"platform": "acme-chat", "scopes": ["chat:read"], "connection_id": str(second.pk)}
    assert mint(client, acme, {"grants": [wish]}).json()["reason"] == "no_scopes_after_attenuation"


def test_a_child_can_be_held_to_one_connection(
    client: Client, acme: Side, stranger: Side, platform: CountingPlatform
) -> None:
    second = make_connection(acme.platform, platform.token, label="Second", default=False)
    wish = {"platform": "acme-chat", "scopes": ["chat:read"], "connection_id": str(second.pk)}
    body = mint(client, acme, {"grants": [wish]}).json()
    assert body["granted"] == [{"platform": "acme-chat", "scopes": ["chat:read"], "connection_id": str(second.pk)}]
    headers = {"Authorization": f"Bearer {body['bearer_token']}"}
    assert call(client, headers).status_code == 200
    assert call(client, headers, connection_id=str(acme.connection.pk)).status_code == 412
    foreign = wish | {"connection_id": str(stranger.connection.pk)}
    assert mint(client, acme, {"grants": [foreign]}).status_code == 403


# (what happens to the parent's side, what the child's next call is told)
LOSSES: list[tuple[str, Any, str]] = [
    ("the grant is revoked", lambda rows: rows.update(revoked_at=timezone.now()), "scope_not_granted"),
    ("the grant ends", lambda rows: rows.update(expires_at=timezone.now()), "grant_expired"),
    ("the grant is deleted", lambda rows: rows.delete(), "scope_not_granted"),
    ("the platform is suspended", lambda rows: Platform.objects.update(suspended_at=timezone.now()), "platform_suspended"),
]  # fmt: skip


@pytest.mark.parametrize(("lose", "reason"), [row[1:] for row in LOSSES], ids=[row[0] for row in LOSSES])
def test_what_the_parent_loses_the_child_loses_on_the_next_call(
    client: Client, acme: Side, lose: Any, reason: str
) -> None:
    _, headers = child_of(client, acme)
    lose(Grant.objects.filter(agent=acme.agent))
    assert call(client, headers).json()["reason"] == reason
    assert client.get("/v1/agent/permissions", headers=headers).json()["platforms"] == []


def test_a_grant_given_back_to_the_parent_is_not_given_back_to_the_child(client: Client, acme: Side) -> None:
    _, headers = child_of(client, acme)
    grant = acme.grants["chat:read"]
    Grant.objects.filter(pk=grant.pk).update(revoked_at=timezone.now())
    Grant.objects.create(agent=acme.agent, scope=grant.scope, require_approval=False)
    assert call(client, headers).json()["reason"] == "scope_not_granted"


def test_a_child_with_a_grant_of_its_own_has_none(client: Client, acme: Side) -> None:
    child, headers = child_of(client, acme)
    Grant.objects.filter(agent=child).update(parent=None)  # a row that nothing makes
    assert call(client, headers).json()["reason"] == "scope_not_granted"
    scope = Scope.objects.create(platform=acme.platform, name="chat:admin", rules=["* /**"])
    mine = Grant.objects.create(agent=acme.agent, scope=scope, require_approval=False)
    Grant.objects.filter(agent=child).update(parent=mine)  # taken from another scope of the parent
    assert call(client, headers).json()["reason"] == "scope_not_granted"


def test_a_root_agent_with_a_grant_taken_from_another_has_none(client: Client, acme: Side) -> None:
    other = acme.grants["chat:write"]
    Grant.objects.filter(pk=acme.grants["chat:read"].pk).update(parent=other)  # a row that nothing makes
    assert call(client, bearer(acme.agent)).json()["reason"] == "scope_not_granted"


def test_a_connection_of_another_platform_is_no_connection_to_be_held_to(client: Client, acme: Side) -> None:
    other = Platform.objects.create(
        owner=acme.owner, slug="other", name="O", base_url="https://o.example", auth={"type": "bearer"}
    )
    scope = Scope.objects.create(platform=other, name="all", rules=["* /**"])
    Grant.objects.create(agent=acme.agent, scope=scope)
    wish = {"platform": "acme-chat", "scopes": ["chat:read"], "connection_id": str(make_connection(other, "t").pk)}
    assert mint(client, acme, {"grants": [wish]}).json()["reason"] == "no_scopes_after_attenuation"


def suspend(side: Side, agent_id: str) -> Any:
    return lifecycle.suspend(member=side.admin, agent_id=agent_id, now=timezone.now(), request_id=uuid4())


def test_it_dies_with_its_own_suspension_and_its_siblings_do_not(client: Client, acme: Side) -> None:
    child, headers = child_of(client, acme)
    _, sibling = child_of(client, acme)
    suspend(acme, child.pk)
    assert call(client, headers).json()["reason"] == "agent_suspended"
    assert call(client, sibling).status_code == 200
    assert call(client, bearer(acme.agent)).status_code == 200


def test_it_dies_with_its_parents_suspension_and_revocation(client: Client, acme: Side) -> None:
    _, headers = child_of(client, acme)
    suspend(acme, acme.agent.pk)
    assert call(client, headers).json()["reason"] == "agent_suspended"
    lifecycle.revoke(member=acme.admin, agent_id=acme.agent.pk, now=timezone.now(), request_id=uuid4())
    assert call(client, headers).json()["reason"] == "agent_revoked"


def test_a_queued_call_of_a_child_finds_no_grant_once_parent_or_time_are_gone(client: Client, acme: Side) -> None:
    child, _ = child_of(client, acme)
    question: dict[str, Any] = {
        "owner_id": acme.owner.pk, "agent_id": child.pk, "platform": "acme-chat", "scope": "chat:read",
        "method": "GET", "endpoint": parse_endpoint("/api/messages"),
    }  # fmt: skip
    assert find_coverage(**question, now=timezone.now()).platform == "acme-chat"
    assert child.expires_at is not None
    with pytest.raises(NotCovered, match="time of this child") as late:
        find_coverage(**question, now=child.expires_at)
    assert late.value.reason == "grant_expired"
    Agent.objects.filter(pk=acme.agent.pk).update(status=AgentStatus.SUSPENDED)  # the child's own row still says active
    with pytest.raises(NotCovered) as refused:
        find_coverage(**question, now=timezone.now())
    assert refused.value.reason == "agent_suspended"


def test_it_dies_with_its_time(client: Client, acme: Side) -> None:
    child, headers = child_of(client, acme)
    Agent.objects.filter(pk=child.pk).update(expires_at=timezone.now())
    assert call(client, headers).status_code == 401
    Agent.objects.filter(pk=child.pk).update(expires_at=timezone.now() + timedelta(days=9))
    Grant.objects.filter(agent=child).update(expires_at=timezone.now())
    assert call(client, headers).json()["reason"] == "grant_expired"


def test_a_suspended_parent_cannot_mint(client: Client, acme: Side) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=AgentStatus.SUSPENDED)
    assert mint(client, acme).json()["reason"] == "agent_suspended"


def test_no_more_children_live_than_the_operator_allows(
    client: Client, acme: Side, stranger: Side, settings: Settings
) -> None:
    settings.MAX_CHILDREN = 2
    first, _ = child_of(client, acme)
    child_of(client, acme)
    refused = mint(client, acme)
    assert (refused.status_code, refused.json()["code"]) == (409, "child_limit")
    suspend(acme, first.pk)
    assert mint(client, acme).status_code == 409  # it could be reactivated
    assert mint(client, stranger).status_code == 201
    Agent.objects.filter(pk=first.pk).update(expires_at=timezone.now())
    assert mint(client, acme).status_code == 201


def test_without_a_key_for_tokens_there_is_no_child(client: Client, acme: Side, settings: Settings) -> None:
    settings.TOKEN_KEY = ""
    refused = mint(client, acme)
    assert (refused.status_code, refused.json()["code"]) == (503, "as_signing_unavailable")
    assert not Agent.objects.filter(parent__isnull=False).exists()
    assert not AuditEvent.objects.exists()


ONE = {"platform": "acme-chat", "scopes": ["chat:read"]}
BAD: list[Any] = [
    {},
    {"grants": None},
    {"grants": {}},
    {"grants": [None]},
    {"grants": ["acme-chat:chat:read"]},
    {"grants": [{"platform": "acme-chat"}]},
    {"grants": [{"scopes": ["chat:read"]}]},
    {"grants": [ONE | {"scopes": "chat:read"}]},
    {"grants": [ONE | {"scopes": [1]}]},
    {"grants": [ONE | {"scopes": ["x" * 129]}]},
    {"grants": [ONE | {"scopes": ["x"] * 101}]},
    {"grants": [ONE | {"platform": "x" * 64}]},
    {"grants": [ONE | {"connection_id": "main"}]},
    {"grants": [ONE | {"connection_id": 7}]},
    {"grants": [ONE] * 26},
    BOTH | {"ttl_seconds": 59},
    BOTH | {"ttl_seconds": 3601},
    BOTH | {"ttl_seconds": "900"},
    BOTH | {"ttl_seconds": 900.0},
    BOTH | {"ttl_seconds": True},
    BOTH | {"ttl_seconds": None},
    BOTH | {"ttl_seconds": 10**30},
    BOTH | {"name": ""},
    BOTH | {"name": " \n"},
    BOTH | {"name": "\u202e\u200b"},
    BOTH | {"name": "x" * 201},
    BOTH | {"name": 5},
    [],
    None,
]


@pytest.mark.parametrize("body", BAD)
def test_a_wish_that_is_none_is_refused(client: Client, acme: Side, body: Any) -> None:
    response = mint(client, acme, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert not Agent.objects.filter(parent__isnull=False).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"ttl_seconds": 60},
        {"ttl_seconds": 3600},
        {"name": "x" * 200},
        {"grants": [ONE] * 25},
        {"grants": [ONE | {"scopes": ["chat:read", *["x"] * 99]}]},
    ],
)
def test_limits_are_inclusive(client: Client, acme: Side, change: dict[str, Any]) -> None:
    assert mint(client, acme, BOTH | change).status_code == 201


def test_a_stranger_cannot_hand_out_what_is_not_theirs(client: Client, acme: Side, stranger: Side) -> None:
    Platform.objects.filter(owner=acme.owner).update(slug="acme-only")
    wish = {"grants": [{"platform": "acme-only", "scopes": ["chat:read"]}]}
    assert mint(client, stranger, wish).json()["reason"] == "no_scopes_after_attenuation"
    assert mint(client, acme, wish).status_code == 201
    assert Connection.objects.filter(platform__owner=acme.owner).exists()
