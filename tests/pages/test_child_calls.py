"""A child agent carries the name that its parent's program picked: people are always told whose child it is."""

import re

import pytest
from django.test import Client

from agents.models import Agent, AgentStatus
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from notifications.models import Notification
from tests.approvals.test_actions_api import WRITE
from tests.pages.scene import signed_in
from tests.platforms.test_children import child_of
from tests.world import Side, submit


@pytest.fixture
def waiting(client: Client, acme: Side) -> ApprovalRequest:
    """A call of a child that took the name of another agent of the owner."""
    Agent.objects.create(owner=acme.owner, name="Payroll bot", status=AgentStatus.ACTIVE)
    _, headers = child_of(client, acme, name="Payroll bot")
    assert client.post("/v1/actions", WRITE, content_type="application/json", headers=headers).status_code == 202
    return ApprovalRequest.objects.get()


def test_the_name_of_another_agent_gets_a_number(acme: Side, waiting: ApprovalRequest) -> None:
    assert waiting.agent_name == "Payroll bot (2)"
    assert waiting.agent.parent == acme.agent


def test_a_name_that_no_other_agent_has_stays(client: Client, acme: Side) -> None:
    names = [child_of(client, acme, name="worker")[0].name for _ in range(2)]
    assert names == ["worker", "worker"]


def test_the_queue_and_the_page_of_the_call_say_whose_child_it_is(acme: Side, waiting: ApprovalRequest) -> None:
    for path in ("/approvals", f"/approvals/{waiting.pk}", f"/m/approvals/{waiting.pk}"):
        html = signed_in(acme.admin).get(path).content.decode()
        assert html.count("child of <bdi>Acme bot</bdi>") == 2, path  # on the card, and among the facts
        assert 'data-name="Payroll bot (2) (child of Acme bot), ' in html


def test_the_line_in_the_inbox_and_the_record_say_so_too(acme: Side, waiting: ApprovalRequest) -> None:
    line = Notification.objects.get()
    assert (line.title, line.body) == (
        "Approval required",
        "Payroll bot (2) (child of Acme bot) → acme-chat/chat:write",
    )
    assert AuditEvent.objects.latest("seq").actor_label == "Payroll bot (2) (child of Acme bot)"


def test_a_root_agent_is_nobodys_child(client: Client, acme: Side) -> None:
    submit(acme)
    assert "child of" not in signed_in(acme.admin).get("/approvals").content.decode()


def test_the_list_for_phones_says_so_too(acme: Side, waiting: ApprovalRequest) -> None:
    assert "child of <bdi>Acme bot</bdi>" in signed_in(acme.admin).get("/m/approvals").content.decode()


def test_the_history_and_the_audit_log_name_the_parent_before_the_child(acme: Side, waiting: ApprovalRequest) -> None:
    admin = signed_in(acme.admin)
    admin.post(f"/approvals/{waiting.pk}/deny", {"digest": waiting.digest})
    row = AuditEvent.objects.filter(agent_id=waiting.agent_id).latest("seq")
    for path in ("/approvals/history", "/audit", f"/audit/{row.pk}"):
        text = re.sub("<[^>]+>", "", admin.get(path).content.decode())
        assert "Acme bot ›, its child Payroll bot (2)" in text, path
