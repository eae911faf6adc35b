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
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import delegates, lifecycle
from agents.delegate_model import Delegate
from agents.models import Agent, AgentStatus
from agents.onetime import hash_of
from approvals import transitions
from approvals.evidence import PasskeyEvidence
from approvals.execution import execute
from approvals.link_tokens import MagicLink
from approvals.link_views import form_key
from approvals.models import ApprovalRequest, Finding
from approvals.outcomes import AlreadyChecked
from approvals.repeats import CannotRepeat
from approvals.transitions import AlreadyDecided
from audit.events import Actor
from audit.models import AuditEvent
from platforms.grants import Change, revoke
from platforms.models import Grant
from tests.approvals.links import delegate_of
from tests.approvals.test_decisions import approve, deny
from tests.approvals.test_repeats import again, check, lost
from tests.authenticator import Authenticator
from tests.pages.passkeys import FRAGMENT, Person, begin, finish
from tests.pages.scene import signed_in
from tests.world import CountingPlatform, Side, make_side, submit

ROUNDS = int(os.environ.get("RACE_ROUNDS", "4"))
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]


@pytest.fixture
def acme(
    transactional_db: None, platform: CountingPlatform, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Side:
    settings.ANONYMOUS_PER_MINUTE = 1_000_000  # 1,000 rounds with links
    monkeypatch.setattr("agents.passkey_views.OPTIONS_PER_MINUTE", 0)  # and with passkeys
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


def revoke_grant(side: Side) -> None:
    with transaction.atomic():
        grant = Grant.objects.select_related("agent", "scope__platform").get(pk=side.grants["chat:write"].pk)
        actor = Actor("member", str(side.admin.user_id), side.admin.user.email)
        revoke(grant=grant, change=Change(actor=actor, request_id=uuid4(), now=timezone.now()))


def suspend_agent(side: Side) -> None:
    lifecycle.suspend(member=side.admin, agent_id=side.agent.pk, now=timezone.now(), request_id=uuid4())


REVOCATIONS: dict[str, tuple[Callable[[Side], None], str]] = {
    "grant revoked": (revoke_grant, "permission.revoked"),
    "agent suspended": (suspend_agent, "agent.suspended"),
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


def test_a_repeat_is_not_put_beside_the_agents_own_call_while_that_is_decided(acme: Side) -> None:
    for round_ in range(ROUNDS):
        approval = lost(acme, body=str(round_))
        own = submit(acme, body=str(round_))
        list(together(partial(approve, acme, own), partial(again, acme, approval)))
        assert list(ApprovalRequest.objects.filter(digest=approval.digest).exclude(pk=approval.pk)) == [own]


def test_the_same_call_at_the_same_moment_is_one_card(acme: Side, settings: Settings) -> None:
    settings.MAX_PENDING = 0  # of different calls there is one a round
    for round_ in range(ROUNDS):
        body = f'{{"round":{round_}}}'
        rows = list(together(*[partial(submit, acme, body=body)] * 4))
        assert len({row.pk for row in rows}) == 1
        assert ApprovalRequest.objects.count() == round_ + 1


# --- Ways to decide: each gives, for a row, what the press of one button posts. All through HTTP, as people do it.

Press = Callable[[ApprovalRequest, str], Callable[[], Any]]


def with_a_button(side: Side) -> Press:
    client = signed_in(side.approver)

    def press(approval: ApprovalRequest, verb: str) -> Callable[[], Any]:
        sent = {"digest": approval.digest}
        return partial(client.post, f"/approvals/{approval.pk}/{verb}", sent, headers=FRAGMENT)

    return press


def with_a_passkey(side: Side) -> Press:
    person = Person(side.admin)
    person.register()

    def press(approval: ApprovalRequest, verb: str) -> Callable[[], Any]:
        credential = person.device.get(begin(person, approval, verb).json())
        return partial(finish, person, approval, credential, verb)

    return press


def with_a_link(side: Side) -> Press:
    delegate, client = delegate_of(side, f"{uuid4().hex}@elsewhere.example"), Client()
    client.cookies["agentvalet_link"] = "x"

    def press(approval: ApprovalRequest, verb: str) -> Callable[[], Any]:
        token = f"lnk_{uuid4().hex}"
        MagicLink.objects.create(
            approval=approval, delegate=delegate, token_hash=hash_of(token), created_at=timezone.now()
        )
        sent = {"token": token, "form": form_key("x", token), "digest": approval.digest, "decision": verb}
        return partial(client.post, "/approve", sent)

    return press


WAYS: dict[str, tuple[Callable[[Side], Press], str]] = {
    "button": (with_a_button, "dashboard"),
    "link": (with_a_link, "magic_link"),
    "passkey": (with_a_passkey, "passkey"),
}
MEETINGS = [("link", "button"), ("link", "link"), ("passkey", "button"), ("passkey", "link")]
VERBS = [("approve", "approve"), ("approve", "deny"), ("deny", "approve"), ("deny", "deny")]


@pytest.mark.parametrize("ways", MEETINGS, ids=" and ".join)
def test_of_two_ways_to_decide_one_wins_and_the_other_learns_who_did(acme: Side, ways: tuple[str, str]) -> None:
    presses = [WAYS[way][0](acme) for way in ways]
    for round_, verbs in ((round_, VERBS[round_ % len(VERBS)]) for round_ in range(ROUNDS)):
        approval = submit(acme, body=f'{{"round":{round_}}}')
        pressed = [press(approval, verb) for press, verb in zip(presses, verbs, strict=True)]
        answers = list(together(*pressed))
        won = [answer.status_code in {200, 204} for answer in answers]
        assert sorted(won) == [False, True], [answer.status_code for answer in answers]
        approval.refresh_from_db()
        winner = won.index(True)
        decision = {"approve": "approved", "deny": "denied"}[verbs[winner]]
        assert (approval.decision, approval.decided_via) == (decision, WAYS[ways[winner]][1])
        assert events(approval) == ["approval.requested", f"approval.{decision}"]
        assert answers[1 - winner].status_code == 409
        assert f"Already {decision} by {approval.decided_by} at" in answers[1 - winner].content.decode()
        assert PasskeyEvidence.objects.filter(pk=approval.pk).exists() is (approval.decided_via == "passkey")


def test_one_link_pressed_twice_decides_once(acme: Side) -> None:
    press = with_a_link(acme)
    for round_ in range(ROUNDS):
        approval = submit(acme, body=f'{{"round":{round_}}}')
        twice = [press(approval, "approve")] * 2
        assert {answer.status_code for answer in together(*twice)} <= {200, 409}
        assert events(approval) == ["approval.requested", "approval.approved"]


def test_a_delegate_decides_before_the_own_removal_or_not_at_all(acme: Side, settings: Settings) -> None:
    settings.MAX_PENDING = 0  # of calls that nobody decides on there is one a round
    for round_ in range(ROUNDS):
        press = with_a_link(acme)
        approval = submit(acme, body=f'{{"round":{round_}}}')
        gone = partial(
            delegates.remove,
            member=acme.admin,
            delegate_id=Delegate.objects.get().pk,
            request_id=uuid4(),
            now=timezone.now(),
        )
        answer, _ = together(press(approval, "deny"), gone)
        approval.refresh_from_db()
        assert (answer.status_code, approval.decision) in {(200, "denied"), (404, "pending")}
        if approval.decision == "denied":
            assert numbers("delegate.removed")[-1] > numbers("approval.denied")[-1]


def test_of_two_answers_to_one_challenge_one_decides(acme: Side) -> None:
    person = Person(acme.admin, Authenticator(counts=False))
    person.register()
    for round_ in range(ROUNDS):
        approval = submit(acme, body=f'{{"round":{round_}}}')
        credential = person.device.get(begin(person, approval).json())
        outcomes = list(together(*[partial(finish, person, approval, credential)] * 2))
        assert sorted(outcome.status_code for outcome in outcomes) == [200, 400]
        assert events(approval) == ["approval.requested", "approval.approved"]
