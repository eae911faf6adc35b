"""AGENTVALET_MAX_PENDING: how many calls of an agent may wait for a person, and what one more is told."""

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentStatus
from approvals.models import ApprovalRequest
from platforms.models import Grant
from tests.approvals.test_actions_api import READ, WRITE, events, post
from tests.approvals.test_decisions import approve, deny
from tests.world import Side, submit

REFUSED = ("action.denied", "too_many_pending")


@pytest.fixture(autouse=True)
def few(settings: Settings) -> None:
    settings.MAX_PENDING = 3


def ask(client: Client, side: Side, number: int) -> int:
    status: int = post(client, side, WRITE | {"data": {"n": number}}).status_code
    return status


def test_one_call_more_than_the_limit_is_a_429_that_says_when(client: Client, acme: Side) -> None:
    assert [ask(client, acme, n) for n in range(3)] == [202, 202, 202]
    response = post(client, acme, WRITE | {"data": {"n": 3}})
    assert (response.status_code, response.json()["code"]) == (429, "too_many_pending")
    assert "3 calls of this agent wait for a person" in response.json()["error"]
    assert response.json()["correlation_id"] == response["X-Request-Id"]
    assert ApprovalRequest.objects.count() == 3


def test_retry_after_is_when_the_oldest_expires(client: Client, acme: Side) -> None:
    now = timezone.now()
    for age in (570, 300, 0):
        submit(acme, body=json.dumps({"age": age}), now=now - timedelta(seconds=age))
    assert 20 <= int(post(client, acme, WRITE)["Retry-After"]) <= 30


def test_the_same_call_again_is_the_one_that_waits(client: Client, acme: Side) -> None:
    first = [post(client, acme, WRITE | {"data": {"n": n}}).json()["approval_id"] for n in range(3)]
    again = post(client, acme, WRITE | {"data": {"n": 1}})
    assert (again.status_code, again.json()["approval_id"]) == (202, first[1])
    assert events(acme).count(REFUSED) == 0


def test_the_refusal_is_on_record_once_a_minute(client: Client, acme: Side) -> None:
    assert [ask(client, acme, n) for n in range(9)] == [202] * 3 + [429] * 6
    assert events(acme).count(REFUSED) == 1


@pytest.mark.parametrize("way", ["approved", "denied", "expired"])
def test_a_decision_makes_room(client: Client, acme: Side, way: str) -> None:
    rows = [submit(acme, body=f"[{n}]") for n in range(3)]
    assert ask(client, acme, 1) == 429
    if way == "expired":  # and no sweep has come by
        ApprovalRequest.objects.filter(pk=rows[0].pk).update(expires_at=timezone.now())
    else:
        {"approved": approve, "denied": deny}[way](acme, rows[0])
    assert ask(client, acme, 1) == 202
    assert ask(client, acme, 2) == 429


def test_what_needs_nobody_goes_on(client: Client, acme: Side) -> None:
    assert [ask(client, acme, n) for n in range(4)][-1] == 429
    assert post(client, acme, READ).status_code == 200


def test_a_call_that_is_not_granted_is_told_so_and_not_to_wait(client: Client, acme: Side) -> None:
    assert [ask(client, acme, n) for n in range(4)][-1] == 429
    assert post(client, acme, WRITE | {"scope": "chat:admin"}).status_code == 403


def test_another_agent_of_the_owner_and_strangers_have_their_own(client: Client, acme: Side, stranger: Side) -> None:
    assert [ask(client, acme, n) for n in range(4)][-1] == 429
    other = Agent.objects.create(owner=acme.owner, name="Other bot", status=AgentStatus.ACTIVE)
    Grant.objects.create(agent=other, scope=acme.grants["chat:write"].scope, require_approval=True)
    assert submit(acme, agent=other)
    assert ask(client, stranger, 1) == 202


@pytest.mark.parametrize("asks", ["parent", "child"])
def test_children_and_their_parent_have_one_limit(client: Client, acme: Side, asks: str) -> None:
    child = Agent.objects.create(
        owner=acme.owner,
        name="Child",
        status=AgentStatus.ACTIVE,
        parent=acme.agent,
        expires_at=timezone.now() + timedelta(hours=1),
    )
    rows = [submit(acme, body=f"[{n}]") for n in range(3)]
    if asks == "child":
        Grant.objects.create(
            agent=child,
            scope=acme.grants["chat:write"].scope,
            require_approval=True,
            parent=acme.grants["chat:write"],
        )
        with pytest.raises(Exception, match="3 calls of this agent wait"):
            submit(acme, agent=child)
    else:
        ApprovalRequest.objects.filter(pk__in=[row.pk for row in rows[:2]]).update(agent=child)
        assert ask(client, acme, 1) == 429


def test_no_limit_is_no_limit(client: Client, acme: Side, settings: Settings) -> None:
    settings.MAX_PENDING = 0
    assert {ask(client, acme, n) for n in range(6)} == {202}
