"""GET /v1/agents/me/pending-actions: what an agent finds when it comes back."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from agents.enrolment import add_key
from agents.models import Agent, AgentStatus
from approvals import pending
from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.pending import left_by
from approvals.services import approve, deny
from tests.world import Side, bearer, public_key, submit


def listed(client: Client, side: Side) -> dict[str, list[dict[str, Any]]]:
    response = client.get("/v1/agents/me/pending-actions", headers=bearer(side.agent))
    assert response.status_code == 200
    body: dict[str, list[dict[str, Any]]] = response.json()
    assert set(body) == {"pending", "recently_completed"}
    for item in body["pending"] + body["recently_completed"]:
        assert all(isinstance(value, str) and value for value in item.values()), item  # MCP hosts refuse null
    return body


def decided(side: Side, approval: ApprovalRequest, *, reason: str | None = None) -> ApprovalRequest:
    now = timezone.now()
    if reason is None:
        return approve(member=side.admin, approval_id=approval.pk, digest=approval.digest, via="web", now=now)
    return deny(member=side.admin, approval_id=approval.pk, digest=approval.digest, via="web", now=now, reason=reason)


def test_an_agent_that_asked_for_nothing_gets_two_empty_lists(client: Client, acme: Side) -> None:
    assert listed(client, acme) == {"pending": [], "recently_completed": []}


def test_each_state_is_listed_as_what_it_is(client: Client, acme: Side) -> None:
    waiting = submit(acme, body="1")
    denied = decided(acme, submit(acme, body="2"), reason="not today")
    running = decided(acme, submit(acme, body="3"))
    done = decided(acme, submit(acme, body="4"))
    execute(approval_id=done.pk, now=timezone.now())
    failed = decided(acme, submit(acme, body="5", endpoint="/cut"))
    execute(approval_id=failed.pk, now=timezone.now())
    overdue = submit(acme, body="6")
    ApprovalRequest.objects.filter(pk=overdue.pk).update(expires_at=timezone.now())
    body = listed(client, acme)
    (item,) = body["pending"]
    assert item == {
        "approval_id": str(waiting.pk),
        "platform_id": "acme-chat",
        "scope": "chat:write",
        "created_at": item["created_at"],
        "expires_at": item["expires_at"],
    }
    ended = {item["approval_id"]: item for item in body["recently_completed"]}
    common = {"platform_id": "acme-chat", "scope": "chat:write"}
    assert ended.pop(str(denied.pk)) == common | {
        "approval_id": str(denied.pk), "status": "denied", "execution_error": "not today",
    }  # fmt: skip
    assert ended.pop(str(running.pk)) == common | {
        "approval_id": str(running.pk), "status": "approved", "result_summary": "Approved; the call is being made.",
    }  # fmt: skip
    answered = ended.pop(str(done.pk))
    assert (answered["status"], answered["result_summary"]) == ("approved", "The platform answered 200.")
    assert "executed_at" in answered
    assert "execution_error" not in answered
    lost = ended.pop(str(failed.pk))
    assert lost["status"] == "approved"
    assert lost["execution_error"].startswith("outcome unknown")
    assert "result_summary" not in lost
    assert ended.pop(str(overdue.pk))["status"] == "expired"
    assert not ended


def test_what_ended_more_than_a_day_ago_is_gone(client: Client, acme: Side) -> None:
    approval = decided(acme, submit(acme), reason="")
    day_ago = timezone.now() - timedelta(hours=24)
    ApprovalRequest.objects.filter(pk=approval.pk).update(decided_at=day_ago + timedelta(minutes=1))
    assert len(listed(client, acme)["recently_completed"]) == 1
    ApprovalRequest.objects.filter(pk=approval.pk).update(decided_at=day_ago)
    assert listed(client, acme)["recently_completed"] == []


def test_a_call_counts_from_its_end_and_not_from_its_decision(client: Client, acme: Side) -> None:
    approval = decided(acme, submit(acme))
    execute(approval_id=approval.pk, now=timezone.now())
    day_ago = timezone.now() - timedelta(hours=24)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        decided_at=day_ago - timedelta(minutes=30), executed_at=day_ago + timedelta(minutes=1)
    )
    assert len(listed(client, acme)["recently_completed"]) == 1


def test_each_list_is_cut_at_its_limit_with_the_newest_first(acme: Side, monkeypatch: Any) -> None:
    monkeypatch.setattr(pending, "MOST", 2)
    made = [submit(acme, body=str(number)).pk for number in range(3)]
    for number in range(3):
        decided(acme, submit(acme, body=f"1{number}"), reason="no")
    left = left_by(agent_id=acme.agent.pk, now=timezone.now())
    assert [approval.pk for approval in left.waiting] == made[:0:-1]
    assert len(left.ended) == 2
    assert left.ended[0].decided_at > left.ended[1].decided_at  # type: ignore[operator]


def test_it_takes_two_queries(acme: Side, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for number in range(3):
        submit(acme, body=str(number))
    decided(acme, submit(acme), reason="no")
    with django_assert_num_queries(2):
        left = left_by(agent_id=acme.agent.pk, now=timezone.now())
    assert (len(left.waiting), len(left.ended)) == (3, 1)


def test_neither_a_stranger_nor_a_colleague_sees_it(client: Client, acme: Side, stranger: Side) -> None:
    submit(acme)
    decided(acme, submit(acme, body="2"), reason="no")
    assert listed(client, stranger) == {"pending": [], "recently_completed": []}
    colleague = Agent.objects.create(owner=acme.owner, name="Colleague", status=AgentStatus.ACTIVE)
    add_key(agent=colleague, pem=public_key(colleague.name))
    response = client.get("/v1/agents/me/pending-actions", headers=bearer(colleague))
    assert response.json() == {"pending": [], "recently_completed": []}


def test_ids_are_those_to_poll(client: Client, acme: Side) -> None:
    submit(acme)
    (item,) = listed(client, acme)["pending"]
    response = client.get(f"/v1/approvals/{UUID(item['approval_id'])}", headers=bearer(acme.agent))
    assert response.json()["status"] == "pending"
