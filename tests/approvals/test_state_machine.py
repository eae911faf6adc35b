"""Any order of asking, deciding, running, crashing, editing and revoking: the invariants of the product hold.

`make test` runs 200 examples of 50 steps; `make state-machine` 5,000 of 100.
"""

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentStatus, Role
from approvals import runs, services, transitions
from approvals.binding import Tampered
from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.rights import START_WITHIN, RightLost
from approvals.transitions import AlreadyDecided, StaleDigest
from audit.models import AuditEvent
from audit.verify import verify_owner
from platforms import client
from platforms.models import Grant, Scope
from platforms.stored_credentials import put, take_in
from tests.world import CountingPlatform, act, bearer, make_side, submit

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "200"))
STEPS = int(os.environ.get("STATE_MACHINE_STEPS", "50"))

# What somebody with a hand in the database might change of an approved row.
EDITS: dict[str, Any] = {
    "digest": "1" * 64,
    "scope": "chat:read",
    "seal": b"\0" * 32,
    "decided_by": "nobody@example.com",
    "decided_via": "passkey",
    "connection_label": "Other",
    "form": b"{}",
    "digest ": "é" * 64,
}


# What an approved call rests on besides itself.
RIGHTS = ("agent", "grant", "rule", "decider")


class Expected:
    """What must be true of one approval, kept beside the database."""

    def __init__(self, *, credential: int) -> None:
        self.decision = "pending"
        self.edited = False
        self.begun = False
        self.done = False
        self.sends = 0
        self.credential = credential


class Product(RuleBasedStateMachine):
    """The product's verbs as rules, on real PostgreSQL and against a platform that counts."""

    platform: CountingPlatform
    examples = 0
    rows: Bundle[UUID] = Bundle("rows")

    @initialize(target=rows)
    def begin(self) -> UUID:
        """A world of its own, in which one call waits already."""
        type(self).examples += 1
        self.side = make_side(
            f"Owner {self.examples}", agent_name="bot", base_url=self.platform.url, token=self.platform.token
        )
        self.expected: dict[UUID, Expected] = {}
        self.now = timezone.now()
        self.rights = dict.fromkeys(RIGHTS, True)
        self.asks = True
        self.credential = 1
        self.direct = 0
        self.platform.log.write_text("")
        return self._ask(0)

    @precondition(lambda self: self.asks and self._may_ask())
    @rule(target=rows, text=st.integers(0, 4))
    def ask(self, text: int) -> UUID:
        return self._ask(text)

    def _ask(self, text: int) -> UUID:
        waiting = {pk for pk, expected in self.expected.items() if expected.decision == "pending"}
        row = submit(self.side, now=self.now, body=f'{{"n":{text}}}')
        assert row.expires_at > self.now
        if row.pk in self.expected:
            assert row.pk in waiting  # a twin is a row that nobody has decided
        else:
            self.expected[row.pk] = Expected(credential=self.credential)
        self._notice_expired(only_if_swept=True)
        return row.pk

    @precondition(lambda self: not self.asks and self._may_ask())
    @rule()
    def call_directly(self) -> None:
        assert isinstance(act(self.side, now=self.now), services.Forwarded)
        self.direct += 1

    def _may_ask(self) -> bool:
        return all(self.rights[right] for right in ("agent", "grant", "rule"))

    @rule(pk=rows, approve=st.booleans(), stale=st.sampled_from([False, False, False, True]))
    def decide(self, pk: UUID, approve: bool, stale: bool) -> None:
        row, expected = ApprovalRequest.objects.get(pk=pk), self.expected[pk]
        verb: Callable[..., Any] = services.approve if approve else services.deny
        try:
            verb(
                member=self.side.approver,
                approval_id=pk,
                digest="0" * 64 if stale else row.digest,
                via="dashboard",
                now=self.now,
            )
        except services.NotAllowed:
            assert not self.rights["decider"]
        except AlreadyDecided:
            assert self.rights["decider"]
            if expected.decision == "pending":
                assert self.now >= row.expires_at
                expected.decision = "expired"
        except StaleDigest:
            assert self.rights["decider"]
            assert expected.decision == "pending"
            assert stale or expected.edited
        else:
            assert self.rights["decider"]
            assert expected.decision == "pending"
            assert self.now < row.expires_at
            assert not stale
            assert not expected.edited
            expected.decision = "approved" if approve else "denied"

    @rule(pk=rows, messages=st.sampled_from([1, 1, 2, 6]))
    def run(self, pk: UUID, messages: int) -> None:
        will_send = self._will_begin(pk)
        for _ in range(messages):
            execute(approval_id=pk, now=self.now)
        if will_send:
            self.expected[pk].done = True
            self.expected[pk].sends += 1

    @rule(pk=rows, sent=st.booleans())
    def run_and_crash(self, pk: UUID, sent: bool) -> None:
        """A worker that dies after its claim, before or after the platform has heard of the call."""
        will_begin = self._will_begin(pk)
        try:
            claim = runs.claim(approval_id=pk, now=self.now)
        except (runs.NotRunnable, Tampered, RightLost):
            assert not will_begin
            return
        assert will_begin
        if sent:
            client.send(
                method="POST",
                url=claim.form.url,
                headers=[("Idempotency-Key", str(pk))],
                body=b"",
                timeout=5,
                max_response_bytes=1000,
            )
            self.expected[pk].sends += 1

    def _will_begin(self, pk: UUID) -> bool:
        """Whether a worker may begin now; a row that it will refuse is done by that."""
        row, expected = ApprovalRequest.objects.get(pk=pk), self.expected[pk]
        if expected.decision != "approved" or expected.begun or expected.done:
            return False
        in_time = row.decided_at is not None and self.now <= row.decided_at + START_WITHIN
        if expected.edited or not (all(self.rights.values()) and expected.credential == self.credential and in_time):
            expected.done = True
            return False
        expected.begun = True
        return True

    @rule()
    def sweep(self) -> None:
        transitions.expire_due(now=self.now)
        for row in ApprovalRequest.objects.in_flight().filter(owner=self.side.owner):
            assert row.execution_started_at is not None
            if abs(self.now - row.execution_started_at) >= runs.lease():  # ahead of us: the clock was put back
                self.expected[row.pk].done = True
        runs.give_up_lost(now=self.now)
        self._notice_expired(only_if_swept=False)

    def _notice_expired(self, *, only_if_swept: bool) -> None:
        for row in ApprovalRequest.objects.filter(owner=self.side.owner, expires_at__lte=self.now):
            expected = self.expected[row.pk]
            if expected.decision == "pending" and (row.decision == "expired" or not only_if_swept):
                expected.decision = "expired"

    @rule(seconds=st.sampled_from([1, 30, 300, 599, 600, 3601, -3600]))
    def pass_time(self, seconds: int) -> None:
        """Also backwards, when somebody puts the clock right."""
        self.now += timedelta(seconds=seconds)

    @rule(pk=rows, column=st.sampled_from(sorted(EDITS)))
    def edit(self, pk: UUID, column: str) -> None:
        expected = self.expected[pk]
        waits = expected.decision == "pending" and column.strip() in {"digest", "scope", "form"}
        if expected.edited or not (waits or (expected.decision == "approved" and not expected.begun)) or expected.done:
            return
        value, column = EDITS[column], column.strip()
        if column == "digest" and ApprovalRequest.objects.filter(decision="pending", digest=value).exists():
            return  # the database allows one pending row of a digest
        ApprovalRequest.objects.filter(pk=pk).update(**{column: value})
        expected.edited = True

    @rule(change=st.sampled_from([*RIGHTS, "asks", "credential"]), held=st.booleans())
    def change_what_calls_rest_on(self, change: str, held: bool) -> None:
        side = self.side
        if change in RIGHTS:
            self.rights[change] = held
        match change:
            case "agent":
                status = AgentStatus.ACTIVE if held else AgentStatus.SUSPENDED
                Agent.objects.filter(pk=side.agent.pk).update(status=status)
            case "grant":
                Grant.objects.filter(agent=side.agent).update(revoked_at=None if held else self.now)
            case "rule":
                rules = ["POST /**"] if held else ["POST /elsewhere/**"]
                Scope.objects.filter(platform=side.platform, name="chat:write").update(rules=rules)
            case "decider":
                side.approver.role = Role.APPROVER if held else Role.AUDITOR
                side.approver.save()
            case "asks":  # what waits goes on waiting, and what was decided runs: only new calls go another way
                self.asks = held
                Grant.objects.filter(pk=side.grants["chat:write"].pk).update(require_approval=held)
            case _:  # twice, so that it is the same one under another version
                for text in (f"{self.platform.token} ", self.platform.token):
                    put(side.connection, take_in(side.connection, text))
                side.connection.save()
                self.credential = side.connection.credential_version

    @rule(pk=rows)
    def poll(self, pk: UUID) -> None:
        response = Client().get(f"/v1/approvals/{pk}", headers=bearer(self.side.agent))
        assert response.status_code == (200 if self.rights["agent"] else 403)
        if response.status_code == 200:
            answer, expected = response.json(), self.expected[pk]
            assert answer["status"] == expected.decision
            assert ("result" in answer or "execution_error" in answer) == expected.done

    @invariant()
    def rows_are_as_expected(self) -> None:
        if not hasattr(self, "side"):
            return
        columns = ("pk", "decision", "execution_started_at", "executed_at", "result_json", "execution_error")
        for pk, decision, begun, done, *ends in ApprovalRequest.objects.filter(owner=self.side.owner).values_list(
            *columns
        ):
            expected = self.expected[pk]
            assert decision == expected.decision
            assert (begun is not None) == expected.begun
            assert (done is not None) == expected.done
            assert sum(end is not None for end in ends) == expected.done

    @invariant()
    def nothing_is_sent_twice_or_without_a_decision(self) -> None:
        if not hasattr(self, "side"):
            return
        sends = Counter(request["headers"].get("Idempotency-Key") for request in self.platform.requests)
        assert sends.pop(None, 0) == self.direct
        assert sends == Counter({str(pk): e.sends for pk, e in self.expected.items() if e.sends})
        assert all(count == 1 for count in sends.values())

    def teardown(self) -> None:
        if not hasattr(self, "side"):
            return
        events = Counter(AuditEvent.objects.for_owner(self.side.owner.pk).values_list("event", flat=True))
        expected = self.expected.values()
        assert events["approval.requested"] == len(self.expected)
        for decision in ("approved", "denied", "expired"):
            assert events[f"approval.{decision}"] == sum(e.decision == decision for e in expected)
        assert events["approval.sending"] == sum(e.begun for e in expected)
        ends = ("approval.executed", "approval.failed", "approval.tampered", "approval.outcome_unknown")
        at_a_decision = (
            AuditEvent.objects.for_owner(self.side.owner.pk).filter(event=ends[2], actor_kind="member").count()
        )
        assert sum(events[end] for end in ends) - at_a_decision == sum(e.done for e in expected)
        assert verify_owner(owner_id=self.side.owner.pk).verifies


@pytest.mark.django_db(transaction=True)
def test_no_order_of_events_breaks_a_promise(platform: CountingPlatform, settings: Settings) -> None:
    assert settings.APPROVAL_LIFETIME == 600
    settings.MAX_PENDING = 0
    Product.platform = platform
    run_state_machine_as_test(
        Product,
        settings=effort(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize="CI" in os.environ,
        ),
    )
