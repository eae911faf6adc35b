"""Agents' reports about themselves: what is taken, what is kept of it, and when people are told."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import lifecycle
from agentvalet.tasks import tidy
from audit.models import AuditEvent
from notifications.models import AgentReport, Notification
from tests.agents.people import by, make_child, token_of
from tests.world import Side, assertion

WHOLE = {
    "severity": "error",
    "message": "The token of the chat was refused.",
    "code": "reauth_failed",
    "platform": "acme-chat",
    "endpoint": "/api/messages",
    "correlation_id": str(uuid4()),
    "context": {"tries": 2, "nested": {"a": [1, None, True]}},
}


def tell(client: Client, side: Side, body: Any = WHOLE, token: str = "") -> Any:
    headers = {"Authorization": f"Bearer {token or assertion(side.agent, session_id='run:1')}"}
    content = body if isinstance(body, str) else json.dumps(body)
    return client.post("/v1/agents/self/diagnostics", content, content_type="application/json", headers=headers)


def test_a_report_is_kept_as_it_came(client: Client, acme: Side) -> None:
    answer = tell(client, acme)
    assert answer.status_code == 200
    body = answer.json()
    made = AgentReport.objects.for_owner(acme.owner).get()
    assert body == {
        "id": str(made.pk),
        "report_id": str(made.pk),
        "received_at": made.received_at.isoformat(),
        "ok": True,
    }
    assert (made.agent, made.severity, made.message) == (acme.agent, "error", WHOLE["message"])
    assert (made.code, made.platform, made.endpoint) == ("reauth_failed", "acme-chat", "/api/messages")
    assert (made.correlation_id, made.session_id) == (UUID(str(WHOLE["correlation_id"])), "run:1")
    assert json.loads(made.context) == WHOLE["context"]


def test_it_is_on_record(client: Client, acme: Side) -> None:
    tell(client, acme)
    row = AuditEvent.objects.get()
    assert (row.event, row.agent_id, row.session_id) == ("agent.reported", acme.agent.pk, "run:1")
    assert row.metadata["report_id"] == str(AgentReport.objects.get().pk)
    assert row.metadata["severity"] == "error"


@pytest.mark.parametrize(
    ("severity", "told"), [("debug", False), ("info", False), ("warn", False), ("error", True), ("critical", True)]
)
def test_people_hear_of_errors_and_worse(client: Client, acme: Side, stranger: Side, severity: str, told: bool) -> None:
    assert tell(client, acme, {"severity": severity, "message": "It\nis\u202e broken"}).status_code == 200
    lines = [(line.owner, line.title, line.url) for line in Notification.objects.all()]
    assert lines == ([(acme.owner, f"Acme bot reports ({severity}): It is broken", "/agent-reports")] if told else [])


def test_an_agent_that_reports_all_the_time_is_one_line_in_the_inbox(client: Client, acme: Side) -> None:
    for number in range(3):
        tell(client, acme, {"severity": "critical", "message": f"no. {number}" + "x" * 1000})
    line = Notification.objects.get()
    assert line.title.startswith("Acme bot reports (critical): no. 2")
    assert len(line.title) == 300


AT_THE_LIMIT: list[dict[str, Any]] = [
    {"message": "m" * 4096},
    {"message": "é" * 2048},
    {"message": " "},
    {"code": "c" * 128},
    {"platform": "p" * 200},
    {"endpoint": "e" * 8192},
    {"context": {"k": "v" * (16 * 1024 - 9)}},  # {"k":""} is 8 bytes
    {"context": {}},
    {"context": {"nul": "\0", "emoji": "✓"}},
    {"code": "", "platform": "", "endpoint": ""},
    {"code": None, "platform": None, "endpoint": None, "correlation_id": None, "context": None},
    {"owner_id": "somebody", "agent_id": "agt_other"},
]


@pytest.mark.parametrize("change", AT_THE_LIMIT)
def test_what_is_within_the_limits_is_taken(client: Client, acme: Side, change: dict[str, Any]) -> None:
    assert tell(client, acme, {"severity": "info", "message": "m"} | change).status_code == 200
    made = AgentReport.objects.get()
    assert made.agent == acme.agent
    if change.get("context"):
        assert json.loads(made.context) == change["context"]


OVER: list[Any] = [
    {"message": "m" * 4097},
    {"message": "é" * 2048 + "m"},
    {"message": ""},
    {"message": None},
    {"message": 5},
    {"message": "a\0b"},
    {"severity": "fatal"},
    {"severity": "ERROR"},
    {"severity": None},
    {"severity": ["error"]},
    {"code": "c" * 129},
    {"code": 5},
    {"platform": "p" * 201},
    {"endpoint": "e" * 8193},
    {"correlation_id": "x"},
    {"correlation_id": 5.5},
    {"context": {"k": "v" * (16 * 1024 - 8)}},
    {"context": {"k": "é" * 8192}},
    {"context": []},
    {"context": "text"},
    {"context": 5},
]


@pytest.mark.parametrize("change", OVER)
def test_what_is_over_or_of_another_kind_is_a_bad_request(client: Client, acme: Side, change: dict[str, Any]) -> None:
    answer = tell(client, acme, {"severity": "error", "message": "m"} | change)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert not AgentReport.objects.exists()
    assert not Notification.objects.exists()


@pytest.mark.parametrize("body", ["{}", "[]", "null", "5", '{"severity":"info"}', '{"message":"m"}', "nonsense", ""])
def test_what_is_no_report_is_a_bad_request(client: Client, acme: Side, body: str) -> None:
    assert tell(client, acme, body).status_code == 400


def test_a_child_reports_as_itself(client: Client, acme: Side) -> None:
    child = make_child(acme)
    assert tell(client, acme, token=token_of(child)).status_code == 200
    assert AgentReport.objects.get().agent == child


def test_only_an_active_agent_reports(client: Client, acme: Side) -> None:
    assert tell(client, acme, token="nonsense").status_code == 401
    lifecycle.suspend(agent_id=acme.agent.pk, **by(acme.admin))
    assert tell(client, acme).status_code == 403
    assert not AgentReport.objects.exists()


def test_a_stranger_does_not_see_it(client: Client, acme: Side, stranger: Side) -> None:
    tell(client, acme)
    assert not AgentReport.objects.for_owner(stranger.owner).exists()


def test_an_agent_that_reports_too_often_has_to_wait(
    client: Client, acme: Side, stranger: Side, settings: Settings
) -> None:
    settings.REQUESTS_PER_MINUTE = 20
    assert [tell(client, acme).status_code for _ in range(3)] == [200, 200, 429]
    assert tell(client, stranger).status_code == 200


def test_reports_are_kept_for_ninety_days(client: Client, acme: Side, stranger: Side) -> None:
    old, young = (UUID(tell(client, acme).json()["id"]) for _ in range(2))
    now = timezone.now()
    AgentReport.objects.filter(pk=old).update(received_at=now - timedelta(days=91))
    AgentReport.objects.filter(pk=young).update(received_at=now - timedelta(days=89))
    tell(client, stranger)
    Notification.objects.filter(owner=acme.owner).update(created_at=now - timedelta(days=89))
    tidy()
    assert AgentReport.objects.for_owner(acme.owner).get().pk == young
    assert Notification.objects.filter(withdrawn_at=None).count() == 2
    AgentReport.objects.for_owner(acme.owner).update(received_at=now - timedelta(days=91))
    Notification.objects.filter(owner=acme.owner).update(created_at=now - timedelta(days=91))
    tidy()
    assert not AgentReport.objects.for_owner(acme.owner).exists()
    assert Notification.objects.get(withdrawn_at=None).owner == stranger.owner
    assert AuditEvent.objects.filter(owner_id=acme.owner.pk, event="agent.reported").count() == 2
