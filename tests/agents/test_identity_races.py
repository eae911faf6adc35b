"""Races on real PostgreSQL, in threads with connections of their own: one winner, and locks that are really taken."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from agents import cli, lifecycle
from agents.authentication import Caller
from agents.cli import LoginGone
from agents.enrolment import InviteGone, bind, invite
from agents.lifecycle import NotPossible
from agents.models import Agent, AgentKey, CliToken, InviteKind
from audit.models import AuditEvent
from notifications import uninstalls
from notifications.models import UninstallRequest
from notifications.uninstalls import AlreadyDecided
from tests.agents.people import by, make_child
from tests.approvals.test_races import together
from tests.world import CountingPlatform, Side, make_side, public_key

ROUNDS = int(os.environ.get("RACE_ROUNDS", "4"))
pytestmark = pytest.mark.django_db(transaction=True)
rounds = pytest.mark.parametrize("turn", range(ROUNDS))


@pytest.fixture
def acme(transactional_db: None, platform: CountingPlatform) -> Side:
    return make_side("Acme", base_url=platform.url, token=platform.token)


def kinds(outcomes: Any) -> list[str]:
    return sorted(type(outcome).__name__ for outcome in outcomes)


@rounds
@pytest.mark.parametrize("kind", list(InviteKind))
def test_a_secret_binds_one_key(acme: Side, kind: InviteKind, turn: int) -> None:
    with transaction.atomic():
        secret = invite(agent=acme.agent, kind=kind, now=timezone.now())

    def binding(key: str) -> Callable[[], Agent]:
        pem = public_key(key)
        return lambda: bind(kind=kind, secret=secret, pem=pem, request_id=uuid4(), now=timezone.now())

    assert kinds(together(binding("one"), binding("two"))) == ["Agent", InviteGone.__name__]
    assert AgentKey.objects.filter(retired_at=None).count() == 1


@rounds
def test_no_child_outlives_a_revocation_that_came_at_the_same_moment(acme: Side, turn: int) -> None:
    outcomes = list(
        together(
            lambda: make_child(acme, name="a"),
            lambda: lifecycle.revoke(agent_id=acme.agent.pk, **by(acme.admin)),
            lambda: make_child(acme, name="b"),
        )
    )
    assert all(isinstance(outcome, Agent | list | NotPossible) for outcome in outcomes)
    assert set(Agent.objects.values_list("status", flat=True)) == {"revoked"}


@rounds
def test_parent_and_child_change_at_the_same_moment_without_a_deadlock(acme: Side, turn: int) -> None:
    child = make_child(acme)
    outcomes = together(
        lambda: lifecycle.suspend(agent_id=child.pk, **by(acme.admin)),
        lambda: lifecycle.suspend(agent_id=acme.agent.pk, **by(acme.admin)),
        lambda: lifecycle.suspend_all(**by(acme.admin)),
    )
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert AuditEvent.objects.filter(event="agent.suspended").count() == 2


@rounds
def test_a_code_opens_one_session(acme: Side, turn: int) -> None:
    state = uuid4()
    code = cli.confirm_login(member=acme.admin, state=state, now=timezone.now())

    def exchange() -> object:
        return cli.exchange_code(state=state, code=code, request_id=uuid4(), now=timezone.now())

    assert kinds(together(exchange, exchange)) == [LoginGone.__name__, "tuple"]
    assert CliToken.objects.count() == 1


@rounds
def test_a_name_goes_to_one_of_two_at_the_same_moment(acme: Side, turn: int) -> None:
    def register() -> str:
        made = cli.register_agent(
            member=acme.admin, name="laptop", kind="", description="", request_id=uuid4(), now=timezone.now()
        )
        return made.agent.name

    assert sorted(together(register, register)) == ["laptop", "laptop (2)"]


@rounds
def test_an_uninstall_is_decided_once(acme: Side, turn: int) -> None:
    caller = Caller(
        agent_id=acme.agent.pk, agent_name="Acme bot", owner_id=acme.owner.pk, status="active", session_id=""
    )
    now = timezone.now()
    tokens = list(together(*[lambda: uninstalls.ask(caller=caller, reason="", request_id=uuid4(), now=now)] * 2))
    assert all(isinstance(token, str) for token in tokens)
    wish = UninstallRequest.objects.get()
    outcomes = together(
        lambda: uninstalls.approve(uninstall_id=wish.pk, **by(acme.admin)),
        lambda: uninstalls.reject(uninstall_id=wish.pk, **by(acme.admin)),
        lambda: uninstalls.expire_due(now=now + timedelta(hours=1)),
    )
    approved, rejected, expired = outcomes
    assert isinstance(expired, int), expired
    assert isinstance(approved, list | AlreadyDecided), approved
    assert isinstance(rejected, UninstallRequest | AlreadyDecided), rejected
    assert isinstance(approved, list) + isinstance(rejected, UninstallRequest) + expired == 1
    wish.refresh_from_db()
    acme.agent.refresh_from_db()
    assert (wish.status == "approved") is (acme.agent.status == "revoked")
    assert wish.status != "pending"
