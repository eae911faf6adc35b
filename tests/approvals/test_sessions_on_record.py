"""The session that an agent names is on every row of what it does, and on no row of what a person does."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals import execution, services, transitions
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from tests.approvals.test_actions_api import WRITE
from tests.world import Side, bearer

SESSION = "sess_0123456789abcdef"


def send(client: Client, side: Side, path: str, body: Any) -> Any:
    headers = bearer(side.agent, session_id=SESSION)
    return client.post(path, body, content_type="application/json", headers=headers)


def sessions(side: Side) -> dict[str, str]:
    return dict(AuditEvent.objects.filter(owner_id=side.owner.pk).values_list("event", "session_id"))


def test_minting_a_child(client: Client, acme: Side) -> None:
    grants = [{"platform": "acme-chat", "scopes": ["chat:read"]}]
    assert send(client, acme, "/v1/agents/children", {"grants": grants}).status_code == 201
    assert sessions(acme) == {"agent.created": SESSION, "permission.granted": SESSION}


def test_asking_to_be_uninstalled(client: Client, acme: Side) -> None:
    assert send(client, acme, "/v1/revoke-request", {}).status_code == 200
    assert sessions(acme) == {"agent.uninstall_requested": SESSION}


@pytest.mark.parametrize("endpoint", ["/api/messages", "/status/500"])
def test_an_approved_call_to_its_end(client: Client, acme: Side, endpoint: str) -> None:
    assert send(client, acme, "/v1/actions", WRITE | {"endpoint": endpoint}).status_code == 202
    row = ApprovalRequest.objects.get()
    services.approve(member=acme.admin, approval_id=row.pk, digest=row.digest, via="dashboard", now=timezone.now())
    execution.execute(approval_id=row.pk, now=timezone.now())
    assert sessions(acme) == {
        "approval.requested": SESSION,
        "approval.approved": "",
        "approval.sending": SESSION,
        "approval.executed": SESSION,
    }


def test_a_call_that_nobody_decided(client: Client, acme: Side) -> None:
    send(client, acme, "/v1/actions", WRITE)
    transitions.expire_due(now=ApprovalRequest.objects.get().expires_at)
    assert sessions(acme) == {"approval.requested": SESSION, "approval.expired": SESSION}
