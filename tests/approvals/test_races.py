"""Races on real PostgreSQL, in threads with connections of their own: one winner, one audit row, the loser told.

`make races` runs 1,000 rounds of each; `make test` a few.
"""

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import lifecycle
from agents.models import Agent, AgentStatus
from approvals import transitions
from approvals.evidence import PasskeyEvidence
from approvals.execution import execute
from approvals.models import ApprovalRequest, Finding
from approvals.outcomes import AlreadyChecked
from approvals.repeats import CannotRepeat
from approvals.transitions import AlreadyDecided
from audit.events import Actor
from audit.models import AuditEvent
from platforms.grants import Change, revoke
from platforms.models import Grant
from tests.approvals.test_decisions import approve, deny
from tests.approvals.test_repeats import again, check, lost
from tests.authenticator import Authenticator
from tests.pages.passkeys import Person, begin, finish
from tests.world import CountingPlatform, Side, make_side, submit

ROUNDS = int(os.environ.get("RACE_ROUNDS", "4"))
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(transactional_db: None, platform: CountingPlatform) -> Side:
    return make_side("Acme", base_url=platform.url, token=platform.token)


def together(*calls: Callable[[], Any]) -> Iterator[Any]:
    """Let the calls go at one moment, each in a thread; yields what each returned or raised."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def go(index: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            outcomes[index] = call()
        except Exception as error:  # noqa: BLE001 - handed to the test, which looks at it
            outcomes[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield from outcomes


def wait_until_somebody_waits() -> None:
    """Half a second at most: the other transaction may find nothing to wait for."""
    with connection.cursor() as cursor:
        for _ in range(50):
            cursor.execute(
                "SELECT count(*), pg_sleep(0.01) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0]:
                return


def events(approval: ApprovalRequest) -> list[str]:
    return list(AuditEvent.objects.filter(approval_id=approval.pk).order_by("seq").values_list("event", flat=True))


RIVALS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "approve and deny": (approve, deny),
    "approve and approve": (approve, approve),
    "deny and deny": (deny, deny),
}


@pytest.mark.parametrize("rivals", RIVALS.values(), ids=RIVALS.keys())
def test_of_two_decisions_one_wins_and_the_other_learns_who_did(acme: Side, rivals: Any) -> None:
    first, second = rivals
    for _ in range(ROUNDS):
        approval = submit(acme)
        outcomes = list(
            together(
                partial(first, acme, approval, member=acme.admin),
                partial(second, acme, approval, member=acme.approver),
            )
        )
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, ApprovalRequest)]
        (loser,) = [outcome for outcome in outcomes if isinstance(outcome, AlreadyDecided)]
        assert loser.approval.decided_by == winner.decided_by
        assert loser.approval.decision == winner.decision
        assert events(approval) == ["approval.requested", f"approval.{winner.decision}"]


def test_a_click_at_the_last_moment_wins_or_loses_against_time_and_never_both(acme: Side) -> None:
    for _ in range(ROUNDS):
        approval = submit(acme)
        just_before = approval.expires_at - timedelta(microseconds=1)
        clicked, expired = together(
            partial(approve, acme, approval, now=just_before),
            partial(transitions.expire_due, now=approval.expires_at),
        )
        approval.refresh_from_db()
        assert events(approval) == ["approval.requested", f"approval.{approval.decision}"]
        if approval.decision == "approved":
            assert (clicked.decision, expired) == ("approved", 0)
        else:
            assert isinstance(clicked, AlreadyDecided)
            assert (clicked.approval.decision, expired) == ("expired", 1)


def test_two_workers_with_one_message_send_once(acme: Side, platform: CountingPlatform) -> None:
    for round_ in range(ROUNDS):
        approval = approve(acme, submit(acme))
        list(together(*[partial(execute, approval_id=approval.pk, now=timezone.now())] * 3))
        assert len(platform.requests) == round_ + 1
        assert events(approval).count("approval.sending") == 1


def _revoke(side: Side) -> None:
    with transaction.atomic():
        grant = Grant.objects.select_related("agent", "scope__platform").get(pk=side.grants["chat:write"].pk)
        actor = Actor("member", str(side.admin.user_id), side.admin.user.email)
        revoke(grant=grant, change=Change(actor=actor, request_id=uuid4(), now=timezone.now()))


def _suspend(side: Side) -> None:
    lifecycle.suspend(member=side.admin, agent_id=side.agent.pk, now=timezone.now(), request_id=uuid4())


REVOCATIONS: dict[str, tuple[Callable[[Side], None], str]] = {
    "grant revoked": (_revoke, "permission.revoked"),
    "agent suspended": (_suspend, "agent.suspended"),
}


def numbers(event: str) -> list[int]:
    return list(AuditEvent.objects.filter(event=event).order_by("seq").values_list("seq", flat=True))


@pytest.mark.parametrize(("take_away", "event"), REVOCATIONS.values(), ids=REVOCATIONS.keys())
def test_a_revocation_stops_the_call_or_comes_after_its_intent(
    acme: Side, platform: CountingPlatform, take_away: Callable[[Side], None], event: str
) -> None:
    for _ in range(ROUNDS):
        platform.log.write_text("")
        Grant.objects.update(revoked_at=None)
        Agent.objects.update(status=AgentStatus.ACTIVE)
        approval = approve(acme, submit(acme))
        outcomes = list(
            together(partial(execute, approval_id=approval.pk, now=timezone.now()), partial(take_away, acme))
        )
        assert outcomes == [None, None]
        approval.refresh_from_db()
        assert approval.executed_at is not None
        assert len(platform.requests) == events(approval).count("approval.sending")
        if platform.requests:
            assert numbers(event)[-1] > numbers("approval.sending")[-1]


@pytest.mark.parametrize(("take_away", "event"), REVOCATIONS.values(), ids=REVOCATIONS.keys())
def test_a_worker_that_waits_for_a_revocation_reads_the_rights_after_it(
    acme: Side, platform: CountingPlatform, take_away: Callable[[Side], None], event: str
) -> None:
    """The revocation is on record first and not committed yet; the worker comes to the audit log while it is."""
    approval = approve(acme, submit(acme))
    recorded = threading.Event()

    def take_away_slowly() -> None:
        with transaction.atomic():
            take_away(acme)
            recorded.set()
            wait_until_somebody_waits()

    def work() -> None:
        recorded.wait(10)
        execute(approval_id=approval.pk, now=timezone.now())

    assert list(together(take_away_slowly, work)) == [None, None]
    assert numbers(event)
    assert platform.requests == []
    assert events(approval)[-1] == "approval.failed"


def test_of_two_findings_the_first_stands_and_the_second_learns_whose_it_is(acme: Side) -> None:
    for round_ in range(ROUNDS):
        approval = lost(acme, body=str(round_))
        outcomes = list(
            together(
                partial(check, acme, approval, Finding.HAPPENED, member=acme.admin),
                partial(check, acme, approval, Finding.NOT_HAPPENED, member=acme.approver),
            )
        )
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, ApprovalRequest)]
        (loser,) = [outcome for outcome in outcomes if isinstance(outcome, AlreadyChecked)]
        assert loser.approval.outcome_checked_by == winner.outcome_checked_by
        assert loser.approval.outcome_found == winner.outcome_found
        assert events(approval).count("approval.outcome_checked") == 1


def test_two_who_send_again_and_the_agent_itself_share_one_card(acme: Side, settings: Settings) -> None:
    settings.MAX_PENDING = 0  # of different calls there is one a round
    for round_ in range(ROUNDS):
        approval = lost(acme, body=str(round_))
        outcomes = list(
            together(
                partial(again, acme, approval, member=acme.admin),
                partial(again, acme, approval, member=acme.approver),
                partial(submit, acme, body=str(round_)),
            )
        )
        rows = []
        for outcome in outcomes:
            if isinstance(outcome, CannotRepeat):  # the agent was first: that card is pointed to
                assert outcome.instead is not None
                rows.append(outcome.instead)
            else:
                rows.append(outcome if isinstance(outcome, ApprovalRequest) else outcome[0])
        assert len({row.pk for row in rows}) == 1
        assert ApprovalRequest.objects.filter(decision="pending").count() == round_ + 1


def test_a_repeat_is_not_asked_for_twice_while_the_first_is_decided(acme: Side) -> None:
    """Approved in the very moment, it is under way; a second card would be a second call."""
    for round_ in range(ROUNDS):
        approval = lost(acme, body=str(round_))
        second, _ = again(acme, approval)
        list(together(partial(approve, acme, second), partial(again, acme, approval)))
        assert ApprovalRequest.objects.filter(again_of=approval).count() == 1


def test_the_same_call_at_the_same_moment_is_one_card(acme: Side, settings: Settings) -> None:
    settings.MAX_PENDING = 0  # of different calls there is one a round
    for round_ in range(ROUNDS):
        body = f'{{"round":{round_}}}'
        rows = list(together(*[partial(submit, acme, body=body)] * 4))
        assert len({row.pk for row in rows}) == 1
        assert ApprovalRequest.objects.count() == round_ + 1


def test_of_a_passkey_and_a_button_one_wins_and_the_other_learns_who_did(acme: Side) -> None:
    person = Person(acme.admin)
    person.register()
    for round_ in range(ROUNDS):
        approval = submit(acme, body=f'{{"round":{round_}}}')
        credential = person.device.get(begin(person, approval).json())
        signed, pressed = together(
            partial(finish, person, approval, credential),
            partial(deny, acme, approval, member=acme.approver),
        )
        approval.refresh_from_db()
        by_passkey = approval.decided_via == "passkey"
        assert signed.status_code == (200 if by_passkey else 409)
        assert isinstance(pressed, AlreadyDecided if by_passkey else ApprovalRequest)
        assert PasskeyEvidence.objects.filter(pk=approval.pk).exists() is by_passkey
        assert events(approval) == ["approval.requested", "approval.approved" if by_passkey else "approval.denied"]


def test_of_two_answers_to_one_challenge_one_decides(acme: Side) -> None:
    person = Person(acme.admin, Authenticator(counts=False))
    person.register()
    for round_ in range(ROUNDS):
        approval = submit(acme, body=f'{{"round":{round_}}}')
        credential = person.device.get(begin(person, approval).json())
        outcomes = list(together(*[partial(finish, person, approval, credential)] * 2))
        assert sorted(outcome.status_code for outcome in outcomes) == [200, 400]
        assert events(approval) == ["approval.requested", "approval.approved"]
