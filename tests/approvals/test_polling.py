"""GET /v1/approvals/{id}: every state as the bytes that make every published client behave (wire contract, 1.3)."""

import json
from typing import Any

from django.test import Client
from django.utils import timezone

from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.tasks import sweep
from tests.approvals.test_decisions import approve, deny
from tests.world import Side, bearer, submit


def poll(client: Client, side: Side, approval: ApprovalRequest) -> dict[str, Any]:
    response = client.get(f"/v1/approvals/{approval.pk}", headers=bearer(side.agent))
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    body: dict[str, Any] = json.loads(response.content)
    assert body["approval_id"] == str(approval.pk)
    return body


def test_waiting(client: Client, acme: Side) -> None:
    body = poll(client, acme, submit(acme))
    assert body["status"] == "pending"
    assert body["executed_at"] is None
    assert not {"result", "execution_error"} & set(body)


def test_approved_and_running(client: Client, acme: Side) -> None:
    body = poll(client, acme, approve(acme, submit(acme)))
    assert (body["status"], body["executed_at"]) == ("approved", None)
    assert not {"result", "execution_error"} & set(body)


def test_executed(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme))
    execute(approval_id=approval.pk, now=timezone.now())
    body = poll(client, acme, approval)
    assert body["status"] == "approved"
    assert body["executed_at"]
    assert body["result"]["status"] == 200
    assert body["result"]["data"]["data"] == {"id": 7, "ok": True}
    assert "execution_error" not in body


def test_executed_with_the_platforms_bytes(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme, endpoint="/exact"))
    execute(approval_id=approval.pk, now=timezone.now())
    response = client.get(f"/v1/approvals/{approval.pk}", headers=bearer(acme.agent))
    assert b'{"big":12345678901234567890.10, "b":1, "a":"\\u00e9"}' in response.content


def test_executed_with_an_error_of_the_platform(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme, endpoint="/status/404"))
    execute(approval_id=approval.pk, now=timezone.now())
    body = poll(client, acme, approval)
    assert body["result"] == {"status": 404, "data": {"status_was": 404}}
    assert "execution_error" not in body


def test_executed_with_a_breakdown_of_the_platform(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme, endpoint="/status/503"))
    execute(approval_id=approval.pk, now=timezone.now())
    body = poll(client, acme, approval)
    assert body["result"]["status"] == 503
    assert "execution_error" not in body


def test_could_not_execute(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme))
    acme.connection.delete()
    execute(approval_id=approval.pk, now=timezone.now())
    body = poll(client, acme, approval)
    assert body["status"] == "approved"
    assert body["execution_error"] == "The connection is gone. Nothing was sent."
    assert "result" not in body


def test_denied_with_and_without_a_reason(client: Client, acme: Side) -> None:
    assert "execution_error" not in poll(client, acme, deny(acme, submit(acme)))
    body = poll(client, acme, deny(acme, submit(acme), reason="no"))
    assert (body["status"], body["execution_error"]) == ("denied", "no")


def test_expired_before_and_after_the_sweep(client: Client, acme: Side) -> None:
    approval = submit(acme)
    ApprovalRequest.objects.filter(pk=approval.pk).update(expires_at=timezone.now())
    # Nobody may be told of an end that a decision under the row's lock could still turn into another.
    assert poll(client, acme, approval)["status"] == "pending"
    sweep()
    assert poll(client, acme, approval)["status"] == "expired"


def test_the_approval_of_another_agent_is_not_found(client: Client, acme: Side, stranger: Side) -> None:
    response = client.get(f"/v1/approvals/{submit(acme).pk}", headers=bearer(stranger.agent))
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_an_id_that_is_none_is_a_404_in_json(client: Client, acme: Side) -> None:
    response = client.get("/v1/approvals/nope", headers=bearer(acme.agent))
    assert response.status_code == 404
    assert response.json()["error"]


def test_a_poll_changes_nothing(client: Client, acme: Side) -> None:
    approval = submit(acme)
    before = ApprovalRequest.objects.filter(pk=approval.pk).values().get()
    poll(client, acme, approval)
    assert ApprovalRequest.objects.filter(pk=approval.pk).values().get() == before
