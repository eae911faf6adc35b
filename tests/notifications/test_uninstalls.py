"""Uninstalling: the agent asks, an admin decides, the client hears of it over a stream that holds no thread."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents import lifecycle
from agents.lifecycle import NotAllowed
from agents.models import Agent
from audit.models import AuditEvent
from notifications import uninstalls
from notifications.models import Notification, UninstallRequest
from notifications.tasks import sweep
from notifications.uninstalls import AlreadyDecided
from tests.agents.people import by, events, make_child, token_of
from tests.world import Side, assertion


def ask(client: Client, token: str, body: object = None) -> Any:
    content = json.dumps({"reason": "CLI uninstall"} if body is None else body)
    headers = {"Authorization": f"Bearer {token}"}
    return client.post("/v1/revoke-request", content, content_type="application/json", headers=headers)


def asked(client: Client, side: Side) -> str:
    """The token of a pending request, asked for as the published client does: with an assertion of 300 s."""
    now = int(time.time())
    answer = ask(client, assertion(side.agent, iat=now, exp=now + 300))
    assert answer.status_code == 200
    return str(answer.json()["revocation_token"])


def stream(client: Client, token: str) -> Any:
    return client.get(f"/v1/revoke-request/stream/{token}", headers={"Accept": "text/event-stream"})


def heard(client: Client, token: str) -> list[str]:
    """The lines of one visit to the stream."""
    answer = stream(client, token)
    assert answer.status_code == 200
    return [line for line in answer.content.decode().split("\n") if line]


def decide(verb: Callable[..., Any], side: Side, **more: Any) -> Any:
    return verb(uninstall_id=UninstallRequest.objects.latest("created_at").pk, **by(side.admin) | more)


def test_asking_puts_it_before_the_owner(client: Client, acme: Side, stranger: Side) -> None:
    asked(client, acme)
    line = Notification.objects.get(withdrawn_at=None)
    assert (line.owner, line.title, line.url) == (acme.owner, "Uninstall requested: Acme bot", "/notifications")
    row = AuditEvent.objects.get(event="agent.uninstall_requested")
    assert (row.owner_id, row.agent_id, row.reason) == (acme.owner.pk, acme.agent.pk, "")
    wish = UninstallRequest.objects.for_owner(acme.owner).pending(timezone.now()).get()
    assert wish.expires_at - wish.created_at == timedelta(seconds=300)
    assert wish.reason == "CLI uninstall"
    assert not UninstallRequest.objects.for_owner(stranger.owner).exists()


def test_approved_revokes_the_agent_and_its_children(client: Client, acme: Side) -> None:
    child, token = make_child(acme), asked(client, acme)
    assert heard(client, token) == [": waiting"]
    revoked = decide(uninstalls.approve, acme)
    assert revoked == [acme.agent, child]
    assert heard(client, token) == ['data: {"status": "approved"}']
    assert not Notification.objects.filter(withdrawn_at=None).exists()
    assert [event for event, _ in events(acme)][-2:] == ["agent.deleted", "agent.deleted"]
    reasons = AuditEvent.objects.filter(event="agent.deleted").values_list("reason", flat=True)
    assert set(reasons) == {"It asked to be uninstalled."}
    again = ask(client, assertion(acme.agent))
    assert (again.status_code, again.json()["code"]) == (409, "agent_revoked")


def test_rejected_leaves_the_agent_as_it_is(client: Client, acme: Side) -> None:
    token = asked(client, acme)
    decide(uninstalls.reject, acme)
    assert heard(client, token) == ['data: {"status": "rejected"}']
    acme.agent.refresh_from_db()
    assert acme.agent.status == "active"
    assert not Notification.objects.filter(withdrawn_at=None).exists()
    wish = UninstallRequest.objects.get()
    assert (wish.status, wish.decided_by) == ("rejected", "admin@acme.example")
    row = AuditEvent.objects.get(event="agent.uninstall_rejected")
    assert (row.result, row.actor_label) == ("denied", "admin@acme.example")


def test_time_settles_it_too(client: Client, acme: Side) -> None:
    token = asked(client, acme)
    UninstallRequest.objects.update(expires_at=timezone.now())
    assert heard(client, token) == ['data: {"status": "timeout"}']
    with pytest.raises(AlreadyDecided):
        decide(uninstalls.approve, acme)
    assert Notification.objects.filter(withdrawn_at=None).exists()
    sweep()
    sweep()
    assert heard(client, token) == ['data: {"status": "timeout"}']
    assert not Notification.objects.filter(withdrawn_at=None).exists()
    assert [event for event, _ in events(acme)] == ["agent.uninstall_requested", "agent.uninstall_expired"]


def test_the_sweep_leaves_what_is_not_due(client: Client, acme: Side) -> None:
    token = asked(client, acme)
    sweep()
    assert heard(client, token) == [": waiting"]


def test_asking_again_is_the_same_request_with_a_fresh_token(client: Client, acme: Side) -> None:
    first, second = asked(client, acme), asked(client, acme)
    assert first != second
    assert UninstallRequest.objects.count() == 1
    assert stream(client, first).status_code == 404
    assert heard(client, second) == [": waiting"]
    assert [event for event, _ in events(acme)] == ["agent.uninstall_requested"]


def test_asking_again_after_its_time_is_a_new_request(client: Client, acme: Side) -> None:
    first = asked(client, acme)
    UninstallRequest.objects.update(expires_at=timezone.now())
    second = asked(client, acme)
    assert heard(client, first) == ['data: {"status": "timeout"}']
    assert heard(client, second) == [": waiting"]
    assert Notification.objects.get().withdrawn_at is None


def test_revoking_the_agent_elsewhere_is_heard_as_approved(client: Client, acme: Side) -> None:
    token = asked(client, acme)
    lifecycle.revoke(agent_id=acme.agent.pk, **by(acme.admin))
    assert heard(client, token) == ['data: {"status": "approved"}']
    UninstallRequest.objects.update(expires_at=timezone.now())
    sweep()
    assert heard(client, token) == ['data: {"status": "approved"}']


def test_the_stream_is_one_that_proxies_leave_alone(client: Client, acme: Side) -> None:
    answer = stream(client, asked(client, acme))
    assert answer["Content-Type"] == "text/event-stream"
    assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-store", "no")
    assert answer.content == b": waiting\n\n"


def test_the_stream_waits_for_nothing(client: Client, acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    token = asked(client, acme)
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    answer = stream(client, token)
    assert (answer.streaming, waited) == (False, [])  # all of it is there when the view returns
    decide(uninstalls.reject, acme)
    assert heard(client, token) == ['data: {"status": "rejected"}']


def test_who_looks_too_often_has_to_wait(client: Client, acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifications.api.PER_MINUTE", 2)
    token = asked(client, acme)
    assert [stream(client, token).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("token", ["rvk_unknown", "x" * 500, "' OR 1=1 --", "%00", "é"])
def test_an_unknown_token_shows_nothing(client: Client, acme: Side, token: str) -> None:
    asked(client, acme)
    answer = stream(client, token)
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")


@pytest.mark.parametrize("verb", [uninstalls.approve, uninstalls.reject])
@pytest.mark.parametrize("first", [uninstalls.approve, uninstalls.reject])
def test_the_first_decision_stands(client: Client, acme: Side, first: Any, verb: Any) -> None:
    asked(client, acme)
    decide(first, acme)
    before = events(acme)
    with pytest.raises(AlreadyDecided):
        decide(verb, acme)
    assert events(acme) == before


@pytest.mark.parametrize("verb", [uninstalls.approve, uninstalls.reject])
def test_only_an_admin_of_the_owner_decides(client: Client, acme: Side, stranger: Side, verb: Any) -> None:
    token = asked(client, acme)
    for member in (acme.approver, acme.auditor):
        with pytest.raises(NotAllowed):
            decide(verb, acme, member=member)
    with pytest.raises(UninstallRequest.DoesNotExist):
        decide(verb, stranger)
    assert heard(client, token) == [": waiting"]


def test_a_suspended_agent_asks_for_nothing(client: Client, acme: Side) -> None:
    lifecycle.suspend(agent_id=acme.agent.pk, **by(acme.admin))
    answer = ask(client, assertion(acme.agent))
    assert (answer.status_code, answer.json()["reason"]) == (403, "agent_suspended")


def test_a_child_is_nowhere_installed(client: Client, acme: Side) -> None:
    assert ask(client, token_of(make_child(acme))).status_code == 403
    assert not UninstallRequest.objects.exists()


def test_without_an_identity_nothing_is_asked(client: Client, acme: Side) -> None:
    assert ask(client, "nonsense").status_code == 401
    assert ask(client, assertion(acme.agent, key="somebody else")).status_code == 401


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({}, ""),
        ({"reason": None}, ""),
        ({"reason": ""}, ""),
        ({"reason": "two\nlines\u202e"}, "two lines"),
        ({"reason": "r" * 501}, "r" * 500),
        ({"reason": "x", "agent_id": "agt_other"}, "x"),
    ],
)
def test_the_reason_is_one_line_for_people(client: Client, acme: Side, body: object, kept: str) -> None:
    assert ask(client, assertion(acme.agent), body).status_code == 200
    assert UninstallRequest.objects.get().reason == kept
    assert UninstallRequest.objects.get().agent == acme.agent


@pytest.mark.parametrize("body", [[], "text", {"reason": 5}, {"reason": ["x"]}, {"reason": "a\0b"}])
def test_what_is_no_reason_is_a_bad_request(client: Client, acme: Side, body: object) -> None:
    assert ask(client, assertion(acme.agent), body).status_code == 400
    assert not UninstallRequest.objects.exists()


def test_agents_ask_for_themselves_alone(client: Client, acme: Side, stranger: Side) -> None:
    asked(client, acme)
    asked(client, stranger)
    decide(uninstalls.approve, stranger)
    assert Agent.objects.get(pk=acme.agent.pk).status == "active"
