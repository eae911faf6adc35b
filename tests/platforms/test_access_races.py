"""What several ask for at one moment, on real PostgreSQL: limits hold, one wish is one row, a key is shown once."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import count
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.authentication import Caller
from agents.enrolment import bind_key
from agents.keys import make_key_pair
from agents.models import Agent, AgentKey
from audit.events import Actor
from audit.models import AuditEvent
from audit.records import record
from platforms import access, admissions, granting, registrations
from platforms.asks import AccessRequest, Registration
from platforms.children import Child, NothingLeft, TooManyChildren, Wish, mint_child
from platforms.disconnecting import disconnect
from platforms.grants import Change, Choice, NoSuchScope, give_chosen
from platforms.models import Connection, Grant, Scope
from platforms.scope_removal import remove_scope
from tests.approvals.test_races import acme, together, wait_until_somebody_waits
from tests.world import Side, make_connection, public_key

__all__ = ["acme"]  # the fixture with committed rows
pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 6


def stamp() -> dict[str, Any]:
    return {"request_id": uuid4(), "now": timezone.now()}


def caller(side: Side) -> Caller:
    return Caller(
        agent_id=side.agent.pk, agent_name=side.agent.name, owner_id=side.owner.pk, status="active", session_id=""
    )


def at_once(call: Callable[[], Any], times: int = AT_ONCE) -> list[Any]:
    return list(together(*[call] * times))


_addresses = (f"192.0.2.{number}" for number in count())


def apply(owner_id: Any) -> Any:
    applicant = registrations.Applicant(
        owner_id=owner_id, name="helper", description="", requested=[], address=next(_addresses)
    )
    return registrations.register(applicant=applicant, **stamp())


def test_no_child_gets_past_the_limit(acme: Side, settings: Settings) -> None:
    settings.MAX_CHILDREN = 2
    wishes = [Wish(platform="acme-chat", scopes=["chat:read"], connection_id=None)]
    made = at_once(
        lambda: mint_child(caller=caller(acme), wishes=wishes, name="", lifetime=timedelta(minutes=1), **stamp())
    )
    assert sum(isinstance(one, Child) for one in made) == 2
    assert sum(isinstance(one, TooManyChildren) for one in made) == AT_ONCE - 2
    assert Agent.objects.filter(parent=acme.agent).count() == 2


def test_the_same_wish_is_one_row(acme: Side) -> None:
    asked = at_once(
        lambda: access.ask(caller=caller(acme), platform="acme-chat", scope="chat:admin", reason="", **stamp())
    )
    assert len({row.pk for row in asked}) == 1
    assert AccessRequest.objects.count() == AuditEvent.objects.count() == 1


def test_of_two_answers_the_first_stands(acme: Side) -> None:
    Scope.objects.create(platform=acme.platform, name="chat:admin", rules=[])
    wish = access.ask(caller=caller(acme), platform="acme-chat", scope="chat:admin", reason="", **stamp())
    answers = list(
        together(
            lambda: access.approve(member=acme.admin, request=wish.pk, **stamp()),
            lambda: access.deny(member=acme.admin, request=wish.pk, **stamp()),
        )
    )
    assert sum(isinstance(answer, access.AlreadyAnswered) for answer in answers) == 1
    approved = AccessRequest.objects.get().status == "approved"
    assert Grant.objects.filter(scope__name="chat:admin").exists() is approved


@pytest.mark.parametrize("known", [True, False])
def test_no_registration_gets_past_the_limit(acme: Side, known: bool) -> None:
    owner_id = acme.owner.pk if known else uuid4()
    made = at_once(lambda: apply(owner_id), registrations.MAX_PENDING + 1)
    assert sum(isinstance(one, registrations.TooManyPending) for one in made) == 1
    assert Registration.objects.count() == registrations.MAX_PENDING


def test_a_program_is_let_in_once_and_its_key_is_shown_once(acme: Side) -> None:
    row, token = apply(acme.owner.pk)
    decided = at_once(lambda: admissions.approve(member=acme.admin, registration=row.pk, grants=[], **stamp()))
    assert sum(isinstance(one, Registration) for one in decided) == 1
    assert sum(isinstance(one, admissions.AlreadyDecided) for one in decided) == AT_ONCE - 1
    claimed = at_once(lambda: registrations.claim_key(token=token, **stamp()))
    assert sum(isinstance(one, str) for one in claimed) == 1
    assert sum(isinstance(one, registrations.Gone) for one in claimed) == AT_ONCE - 1
    assert AgentKey.objects.exclude(agent=acme.agent).count() == 1


def test_a_claim_waits_for_whoever_binds_a_key_and_then_finds_it(acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    row, token = apply(acme.owner.pk)
    agent = admissions.approve(member=acme.admin, registration=row.pk, grants=[], **stamp()).agent
    assert agent is not None
    held, looked = Event(), Event()

    def after_both() -> tuple[str, str]:
        looked.set()  # the claim has seen an agent without a key
        held.wait(10)
        return make_key_pair()

    def binding() -> str:
        with transaction.atomic():
            locked = Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
            held.set()
            looked.wait(10)
            wait_until_somebody_waits()
            actor = Actor("agent", agent.pk, agent.name)
            bind_key(agent=locked, pem=public_key("invited"), overlap=timedelta(0), actor=actor, **stamp())
        return "bound"

    monkeypatch.setattr("platforms.registrations.make_key_pair", after_both)
    bound, claimed = together(binding, partial(registrations.claim_key, token=token, **stamp()))
    assert (bound, type(claimed)) == ("bound", registrations.Gone)
    assert AgentKey.objects.filter(agent=agent, retired_at=None).count() == 1


def test_a_scope_is_granted_once(acme: Side) -> None:
    Scope.objects.create(platform=acme.platform, name="chat:admin", rules=[])
    choice = Choice(platform="acme-chat", scope="chat:admin")

    def give() -> Grant:
        with transaction.atomic():
            change = Change(actor=Actor("system", "test", "test"), **stamp())
            return give_chosen(agent=acme.agent, owner=acme.owner, choice=choice, change=change)

    given = at_once(give)
    assert {grant.pk for grant in given} == {Grant.objects.get(scope__name="chat:admin").pk}
    assert AuditEvent.objects.filter(event="permission.granted").count() == 1


@pytest.mark.parametrize("goes", ["scope", "connection"])
@pytest.mark.parametrize("given_by", ["an admin", "an answer", "an admission", "a parent"])
def test_what_is_given_while_it_is_deleted_is_refused_in_a_sentence(
    acme: Side, monkeypatch: pytest.MonkeyPatch, goes: str, given_by: str
) -> None:
    """The deletion holds the row, and records only when the other one has come as far as it can."""
    scope = Scope.objects.create(platform=acme.platform, name="chat:admin", rules=[])
    Connection.objects.update(is_default=False)
    pin = make_connection(acme.platform, "tok-second", label="Second")
    choice = Choice(platform="acme-chat", scope="chat:admin", connection_id=pin.pk)
    row, _ = apply(acme.owner.pk)
    wish = access.ask(caller=caller(acme), platform="acme-chat", scope="chat:admin", reason="", **stamp())
    if given_by == "a parent":
        Grant.objects.create(agent=acme.agent, scope=scope, connection=pin)
    held = Event()

    def deleting() -> Any:
        if goes == "scope":
            return remove_scope(member=acme.admin, slug="acme-chat", scope_id=scope.pk, **stamp())
        return disconnect(member=acme.admin, connection_id=pin.pk, **stamp())

    def recording_late(**row: Any) -> UUID:
        if not held.is_set():
            held.set()
            wait_until_somebody_waits()
        return record(**row)

    def giving() -> Any:
        held.wait(10)
        match given_by:
            case "an admin":
                return granting.add(member=acme.admin, agent_id=acme.agent.pk, choice=choice, **stamp())
            case "an answer":
                return access.approve(member=acme.admin, request=wish.pk, connection_id=pin.pk, **stamp())
            case "an admission":
                return admissions.approve(member=acme.admin, registration=row.pk, grants=[choice], **stamp())
        wishes = [Wish(platform="acme-chat", scopes=["chat:admin"], connection_id=None)]
        return mint_child(caller=caller(acme), wishes=wishes, name="", lifetime=timedelta(minutes=1), **stamp())

    monkeypatch.setattr("platforms.setup.record", recording_late)
    deleted, given = together(deleting, giving)
    assert isinstance(deleted, tuple)
    assert type(given) is (NothingLeft if given_by == "a parent" else NoSuchScope)
    assert not Grant.objects.filter(scope__name="chat:admin", revoked_at=None).exists()
