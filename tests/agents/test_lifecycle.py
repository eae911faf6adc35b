"""Creating, suspending, reactivating and revoking: who may, what follows, what is on record."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from agents import lifecycle
from agents.enrolment import invite
from agents.lifecycle import NameRefused, NotAllowed, NotPossible, create_agent
from agents.models import Agent, AgentStatus, Invite
from audit.events import Actor
from audit.models import AuditEvent
from tests.agents.people import by, events, look, make_child
from tests.world import Side, assertion

VERBS: list[Callable[..., Any]] = [lifecycle.suspend, lifecycle.reactivate, lifecycle.revoke]


def create(side: Side, name: str, **more: Any) -> Agent:
    arguments: dict[str, Any] = {
        "owner_id": side.owner.pk,
        "status": AgentStatus.ACTIVE,
        "actor": Actor("member", "1", "admin@acme.example"),
        "now": timezone.now(),
        "request_id": None,
    }
    with transaction.atomic():
        return create_agent(name=name, **arguments | more)


def status_of(agent: Agent) -> str:
    agent.refresh_from_db()
    return agent.status


def test_suspension_holds_on_the_next_call_and_reactivation_ends_it(client: Client, acme: Side) -> None:
    lifecycle.suspend(agent_id=acme.agent.pk, reason="It went wild.", **by(acme.admin))
    refused = look(client, assertion(acme.agent))
    assert (refused.status_code, refused.json()["reason"]) == (403, "agent_suspended")
    assert "wild" not in refused.content.decode()
    lifecycle.reactivate(agent_id=acme.agent.pk, **by(acme.admin))
    assert look(client, assertion(acme.agent)).status_code == 404
    suspended = AuditEvent.objects.get(event="agent.suspended")
    assert (suspended.reason, suspended.actor_label) == ("It went wild.", "admin@acme.example")
    on_record = [event for event, _ in events(acme)]
    assert on_record == ["agent.suspended", "action.denied", "agent.reactivated", "action.denied"]  # at last: not found


def test_revocation_is_for_good(client: Client, acme: Side) -> None:
    with transaction.atomic():
        invite(agent=acme.agent, now=timezone.now())
    assert [agent.pk for agent in lifecycle.revoke(agent_id=acme.agent.pk, **by(acme.admin))] == [acme.agent.pk]
    assert look(client, assertion(acme.agent)).json()["reason"] == "agent_revoked"
    assert not Invite.objects.exists()
    for verb in (lifecycle.reactivate, lifecycle.suspend):
        with pytest.raises(NotPossible):
            verb(agent_id=acme.agent.pk, **by(acme.admin))
    assert status_of(acme.agent) == "revoked"


def test_a_verb_twice_is_on_record_once(acme: Side) -> None:
    for _ in range(2):
        lifecycle.suspend(agent_id=acme.agent.pk, **by(acme.admin))
    for _ in range(2):
        lifecycle.reactivate(agent_id=acme.agent.pk, **by(acme.admin))
    for _ in range(2):
        assert lifecycle.revoke(agent_id=acme.agent.pk, **by(acme.admin)) == [acme.agent]
    assert [event for event, _ in events(acme)] == ["agent.suspended", "agent.reactivated", "agent.deleted"]


def test_revoking_a_parent_revokes_its_children_with_a_row_each(acme: Side) -> None:
    children = [make_child(acme, name=f"child {number}") for number in range(3)]
    lifecycle.suspend(agent_id=children[0].pk, **by(acme.admin))
    revoked = lifecycle.revoke(agent_id=acme.agent.pk, **by(acme.admin))
    assert revoked[0] == acme.agent
    assert set(revoked) == {acme.agent, *children}
    assert {status_of(agent) for agent in revoked} == {"revoked"}
    rows = AuditEvent.objects.filter(event="agent.deleted")
    assert {row.agent_id for row in rows} == {agent.pk for agent in revoked}
    assert rows.get(agent_id=children[0].pk).metadata == {
        "from": "suspended",
        "to": "revoked",
        "parent_agent_id": acme.agent.pk,
    }


def test_suspending_a_parent_suspends_its_children_and_reactivating_it_does_not_revive_them(acme: Side) -> None:
    child = make_child(acme)
    lifecycle.suspend(agent_id=acme.agent.pk, **by(acme.admin))
    assert status_of(child) == "suspended"
    with pytest.raises(NotPossible, match="parent is suspended"):
        lifecycle.reactivate(agent_id=child.pk, **by(acme.admin))
    lifecycle.reactivate(agent_id=acme.agent.pk, **by(acme.admin))
    assert status_of(child) == "suspended"
    lifecycle.reactivate(agent_id=child.pk, **by(acme.admin))
    assert status_of(child) == "active"


def test_a_child_whose_time_is_over_is_not_reactivated(acme: Side) -> None:
    child = make_child(acme, now=timezone.now() - timedelta(hours=1))
    lifecycle.suspend(agent_id=child.pk, **by(acme.admin))
    with pytest.raises(NotPossible, match="time is over"):
        lifecycle.reactivate(agent_id=child.pk, **by(acme.admin))


def test_revoking_a_child_leaves_its_parent_and_its_siblings_alone(acme: Side) -> None:
    child, sibling = make_child(acme), make_child(acme)
    lifecycle.revoke(agent_id=child.pk, **by(acme.admin))
    assert [status_of(agent) for agent in (child, sibling, acme.agent)] == ["revoked", "active", "active"]


def test_an_agent_that_waits_for_its_owner_is_not_suspended_but_can_be_revoked(acme: Side) -> None:
    agent = create(acme, "newcomer", status=AgentStatus.PENDING)
    for verb in (lifecycle.suspend, lifecycle.reactivate):
        with pytest.raises(NotPossible, match="pending"):
            verb(agent_id=agent.pk, **by(acme.admin))
    lifecycle.revoke(agent_id=agent.pk, **by(acme.admin))
    assert status_of(agent) == "revoked"


def test_all_agents_of_an_owner_stop_at_once_and_nobody_elses(acme: Side, stranger: Side) -> None:
    child = make_child(acme)
    other = create(acme, "other")
    gone = create(acme, "gone", status=AgentStatus.REVOKED)
    stopped = lifecycle.suspend_all(reason="SUSPEND", **by(acme.admin))
    assert set(stopped) == {acme.agent, child, other}
    assert [status_of(agent) for agent in (acme.agent, child, other, gone)] == ["suspended"] * 3 + ["revoked"]
    assert status_of(stranger.agent) == "active"
    assert AuditEvent.objects.filter(event="agent.suspended").count() == 3
    assert lifecycle.suspend_all(**by(acme.admin)) == []


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_an_admin_may(acme: Side, verb: Callable[..., Any], role: str) -> None:
    with pytest.raises(NotAllowed):
        verb(agent_id=acme.agent.pk, **by(acme.members[role]))
    with pytest.raises(NotAllowed):
        lifecycle.suspend_all(**by(acme.members[role]))
    assert status_of(acme.agent) == "active"
    assert events(acme) == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_stranger_finds_no_agent(acme: Side, stranger: Side, verb: Callable[..., Any]) -> None:
    child = make_child(acme)
    for agent in (acme.agent, child):
        with pytest.raises(Agent.DoesNotExist):
            verb(agent_id=agent.pk, **by(stranger.admin))
        assert status_of(agent) == "active"
    assert events(stranger) == []


NAMES = {
    "  deploy   bot ": "deploy bot",
    "line\nbreak\ttab": "line break tab",
    "turned \u202eround": "turned round",
    "zero\u200bwidth": "zero width",
    "Ünïcode ✓": "Ünïcode ✓",
    "n" * 200: "n" * 200,
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_a_name_is_one_line_that_a_person_can_read(acme: Side, name: str, shown: str) -> None:
    assert create(acme, name).name == shown


@pytest.mark.parametrize("name", ["", "   ", "\u200b\u202e", "n" * 201])
def test_a_name_that_says_nothing_or_too_much_is_refused(acme: Side, name: str) -> None:
    with pytest.raises(NameRefused):
        create(acme, name)


def test_a_name_belongs_to_one_root_agent_of_an_owner(acme: Side, stranger: Side) -> None:
    with pytest.raises(NameRefused, match="already"):
        create(acme, acme.agent.name)
    assert create(acme, acme.agent.name, number_if_taken=True).name == "Acme bot (2)"
    assert create(acme, acme.agent.name, number_if_taken=True).name == "Acme bot (3)"
    assert create(stranger, acme.agent.name).name == "Acme bot"
    assert {make_child(acme, name=acme.agent.name).name for _ in range(2)} == {"Acme bot (4)"}  # no other agent's
    assert {make_child(acme, name="helper").name for _ in range(2)} == {"helper"}
    long = create(acme, "n" * 200)
    assert create(acme, "n" * 200, number_if_taken=True).name == "n" * 192 + " (2)"
    assert long.name == "n" * 200


def test_a_new_agent_is_on_record_with_what_it_says_it_is(acme: Side) -> None:
    agent = create(acme, "laptop", kind="claude-code", description="d" * 1001)
    assert (agent.kind, agent.description) == ("claude-code", "d" * 1000)
    assert AuditEvent.objects.get(event="agent.created").metadata == {"kind": "claude-code", "status": "active"}
    assert create(acme, "later client", kind="next-ide").kind == "unknown"


@pytest.mark.parametrize("status", ["suspended", "revoked", "pending"])
def test_only_an_active_agent_gets_children(acme: Side, status: str) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=status)
    with pytest.raises(NotPossible, match=status):
        make_child(acme)


def test_a_child_has_no_children_and_no_parent_elsewhere(acme: Side, stranger: Side) -> None:
    end = timezone.now() + timedelta(minutes=5)
    for parent in (make_child(acme), stranger.agent):
        with pytest.raises(Agent.DoesNotExist):
            create(acme, "grandchild", parent_id=parent.pk, expires_at=end)


@pytest.mark.parametrize("ends", [True, False])
def test_the_database_knows_that_children_and_only_children_end(acme: Side, ends: bool) -> None:
    parent = None if ends else acme.agent
    with pytest.raises(IntegrityError, match="agent_child_expires"), transaction.atomic():
        Agent.objects.create(owner=acme.owner, name="x", parent=parent, expires_at=timezone.now() if ends else None)
