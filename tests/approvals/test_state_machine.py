"""Any order of asking, deciding, running, crashing, editing and revoking: the invariants of the product hold.

`make test` runs 200 examples of 50 steps; `make state-machine` 5,000 of 100.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, seed
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import (
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
from approvals.envelope import Answer
from approvals.execution import execute
from approvals.models import ApprovalRequest, Finding
from approvals.outcomes import AlreadyChecked, NothingToCheck
from approvals.repeats import CannotRepeat
from approvals.rights import RightLost
from approvals.transitions import AlreadyDecided, StaleDigest
from audit.models import AuditEvent
from audit.verify import verify_owner
from platforms import client
from platforms.models import Grant, Platform, Scope
from platforms.stored_credentials import put, take_in
from tests.approvals.expected_calls import RIGHTS, Expected, Model
from tests.world import SCOPES, CountingPlatform, act, bearer, make_side, submit

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "200"))
STEPS = int(os.environ.get("STATE_MACHINE_STEPS", "50"))
SHARDS = 2  # so that two processes can share the work


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
RULES = next(rules for scope, rules, _ in SCOPES if scope == "chat:write")
WHICH = st.integers(1, 400)


class Product(RuleBasedStateMachine):
    """The product's verbs as rules, on real PostgreSQL and against a platform that counts."""

    platform: CountingPlatform
    examples = 0

    @initialize()
    def begin(self) -> None:
        """A world of its own, in which one call waits already."""
        type(self).examples += 1
        self.side = make_side(
            f"Owner {self.examples}", agent_name="bot", base_url=self.platform.url, token=self.platform.token
        )
        self.model = Model(now=timezone.now())
        self.platform.log.write_text("")
        self.read, self.sends = 0, Counter[str | None]()
        self._ask(0)

    def _pick(self, which: int, likely: Callable[[Expected], bool]) -> UUID:
        """A call; three times out of four one to which something can happen, if there is one."""
        calls = list(self.model.calls.values())
        hopeful = [call for call in calls if likely(call)] if which % 4 else []
        among = hopeful or calls
        return among[which // 4 % len(among)].pk

    @precondition(lambda self: self.model.asks and self.model.may_ask())
    @rule(text=st.integers(0, 4))
    def ask(self, text: int) -> None:
        self._ask(text)

    def _ask(self, text: int) -> UUID:
        """What waits then."""
        row = submit(self.side, now=self.model.now, body=f'{{"n":{text}}}')
        twin = self.model.twin((text, self.model.credential, True))
        if twin is not None:
            assert row.pk == twin.pk
        else:
            self.model.add(row, (text, self.model.credential, True))
        return row.pk

    @precondition(lambda self: self.model.asks and all(self.model.rights.values()))
    @rule(text=st.integers(0, 4), how=st.sampled_from(["lost", "repeated", "crashed", "not noticed", "run"]))
    def ask_and_approve(self, text: int, how: str) -> None:
        """The usual order of things, so that what comes after it is reached often."""
        pk = self._ask(text)
        self._decide(pk, approve=True, stale=False)
        if how == "run":
            self._run(pk, messages=1)
        else:
            self._run_and_crash(pk, sent=how != "crashed", noticed=how in {"lost", "repeated"})
        if how == "repeated":
            self._send_again(pk)
            self._decide(list(self.model.calls)[-1], approve=True, stale=False)

    @precondition(lambda self: not self.model.asks and self.model.may_ask())
    @rule()
    def call_directly(self) -> None:
        assert isinstance(act(self.side, now=self.model.now), services.Forwarded)
        self.model.direct += 1

    @rule(which=WHICH, approve=st.sampled_from([True, True, False]), stale=st.sampled_from([False, False, False, True]))
    def decide(self, which: int, approve: bool, stale: bool) -> None:
        self._decide(self._pick(which, lambda e: e.decision == "pending"), approve=approve, stale=stale)

    def _decide(self, pk: UUID, *, approve: bool, stale: bool) -> None:
        expected = self.model.calls[pk]
        refusal: type[Exception] | None = None
        if not self.model.rights["decider"]:
            refusal = services.NotAllowed
        elif expected.decision != "pending":
            refusal = AlreadyDecided
        elif self.model.now >= expected.expires_at:
            refusal, expected.decision = AlreadyDecided, "expired"
        elif stale or expected.edited:
            refusal = StaleDigest
        else:
            expected.decision, expected.decided_at = "approved" if approve else "denied", self.model.now
        verb: Callable[..., Any] = services.approve if approve else services.deny
        digest = "0" * 64 if stale else expected.digest
        self._refused(
            refusal,
            lambda: verb(member=self.side.approver, approval_id=pk, digest=digest, via="dashboard", now=self.model.now),
        )

    def _refused(self, refusal: type[Exception] | None, verb: Callable[[], Any]) -> None:
        if refusal is None:
            verb()
        else:
            with pytest.raises(refusal):
                verb()

    @rule(which=WHICH, messages=st.sampled_from([1, 1, 2, 6]))
    def run(self, which: int, messages: int) -> None:
        self._run(self._pick(which, lambda e: e.decision == "approved" and not e.ending), messages=messages)

    def _run(self, pk: UUID, *, messages: int) -> None:
        will_send = self.model.will_begin(pk)
        for _ in range(messages):
            execute(approval_id=pk, now=self.model.now)
        if will_send:
            self.model.calls[pk].ending = "answered"
            self.model.calls[pk].sends += 1

    @rule(which=WHICH, sent=st.booleans(), noticed=st.booleans())
    def run_and_crash(self, which: int, sent: bool, noticed: bool) -> None:
        """A worker that loses its answer, or dies after its claim, before or after the platform has heard of the call."""
        self._run_and_crash(
            self._pick(which, lambda e: e.decision == "approved" and not e.begun_at), sent=sent, noticed=noticed
        )

    def _run_and_crash(self, pk: UUID, *, sent: bool, noticed: bool) -> None:
        expected, will_begin = self.model.calls[pk], self.model.will_begin(pk)
        try:
            claim = runs.claim(approval_id=pk, now=self.model.now)
        except (runs.NotRunnable, Tampered, RightLost):
            assert not will_begin
            return
        assert will_begin
        if sent:
            client.send(
                method="POST",
                url=claim.form.url,
                headers=[("Idempotency-Key", claim.approval.idempotency_key)],
                body=b"",
                timeout=5,
                max_response_bytes=1000,
            )
            expected.sends += 1
            expected.awaits_answer = True
        if noticed:
            runs.lose(approval_id=pk, error=runs.OUTCOME_UNKNOWN, reason="test", now=self.model.now)
            expected.ending = "unknown"

    @rule(which=WHICH, status=st.sampled_from([200, 503]), times=st.integers(1, 2))
    def answer_late(self, which: int, status: int, times: int) -> None:
        """The worker was not dead but slow, or its commit was not acknowledged and is tried again."""
        self._answer_late(self._pick(which, lambda e: e.awaits_answer), status=status, times=times)

    def _answer_late(self, pk: UUID, *, status: int, times: int) -> None:
        expected = self.model.calls[pk]
        if not expected.awaits_answer:
            return
        expected.awaits_answer = False
        for _ in range(times):
            runs.finish(approval_id=pk, answer=Answer(status, "{}"), now=self.model.now)
        if not expected.ending:
            expected.ending = "answered"
            return
        self.model.late += 1
        if status == 200:
            expected.found = Finding.HAPPENED
            self.model.checks += 1

    @rule(which=WHICH, found=st.sampled_from(Finding))
    def check_outcome(self, which: int, found: Finding) -> None:
        self._check_outcome(self._pick(which, lambda e: e.ending == "unknown"), found=found)

    def _check_outcome(self, pk: UUID, *, found: Finding) -> None:
        expected = self.model.calls[pk]
        refusal: type[Exception] | None = None
        if not self.model.rights["decider"]:
            refusal = services.NotAllowed
        elif expected.ending != "unknown":
            refusal = NothingToCheck
        elif expected.found is not None:
            refusal = AlreadyChecked
        else:
            expected.found = found
            self.model.checks += 1
        self._refused(
            refusal,
            lambda: services.check_outcome(member=self.side.approver, approval_id=pk, found=found, now=self.model.now),
        )

    @rule(which=WHICH)
    def send_again(self, which: int) -> None:
        self._send_again(self._pick(which, lambda e: e.may_be_repeated))

    def _send_again(self, pk: UUID) -> None:
        first, waiting = self.model.to_send_again(pk)
        try:
            row, is_new = services.send_again(
                member=self.side.approver,
                approval_id=pk,
                requester_address=None,
                request_id=uuid4(),
                now=self.model.now,
            )
        except services.NotAllowed:
            assert not self.model.rights["decider"]
            return
        except CannotRepeat:
            assert first is None
            return
        assert first is not None
        assert self.model.rights["decider"]
        assert is_new == (waiting is None)
        if waiting is not None:
            assert row.pk == waiting.pk
            return
        is_same_key = (
            first.ending == "unknown" and self.model.honours_keys and first.credential == self.model.credential
        )
        self.model.add(row, self.model.again(first), again_of=first.pk, key=first.key if is_same_key else None)

    @rule()
    def sweep(self) -> None:
        transitions.expire_due(now=self.model.now)
        runs.give_up_lost(now=self.model.now)
        self.model.sweep()

    @rule(seconds=st.sampled_from([1, 30, 300, 599, 600, 3601, -3600]))
    def pass_time(self, seconds: int) -> None:
        """Also backwards, when somebody puts the clock right."""
        self.model.now += timedelta(seconds=seconds)

    @rule(which=WHICH, column=st.sampled_from(sorted(EDITS)))
    def edit(self, which: int, column: str) -> None:
        self._edit(self._pick(which, lambda e: e.decision in {"pending", "approved"} and not e.begun_at), column=column)

    def _edit(self, pk: UUID, *, column: str) -> None:
        expected = self.model.calls[pk]
        waits = expected.decision == "pending" and column.strip() in {"digest", "scope", "form"}
        may_run = expected.decision == "approved" and not expected.begun_at and not expected.ending
        if expected.edited or not (waits or may_run):
            return
        value, column = EDITS[column], column.strip()
        if column == "digest":
            if any(e.decision == "pending" and e.digest == value for e in self.model.calls.values()):
                return  # the database allows one pending row of a digest
            expected.digest, expected.call = value, (value, 0, False)
        ApprovalRequest.objects.filter(pk=pk).update(**{column: value})
        expected.edited = True

    @rule(change=st.sampled_from([*RIGHTS, "asks", "keys", "credential"]), held=st.sampled_from([True, True, False]))
    def change_what_calls_rest_on(self, change: str, held: bool) -> None:
        side = self.side
        if change in RIGHTS:
            self.model.rights[change] = held
        match change:
            case "agent":
                status = AgentStatus.ACTIVE if held else AgentStatus.SUSPENDED
                Agent.objects.filter(pk=side.agent.pk).update(status=status)
            case "grant":
                Grant.objects.filter(agent=side.agent).update(revoked_at=None if held else self.model.now)
            case "rule":
                rules = RULES if held else ["POST /elsewhere/**"]  # the same as before: they are in the digest
                Scope.objects.filter(platform=side.platform, name="chat:write").update(rules=rules)
            case "decider":
                side.approver.role = Role.APPROVER if held else Role.AUDITOR
                side.approver.save()
            case "asks":  # what waits goes on waiting, and what was decided runs: only new calls go another way
                self.model.asks = held
                Grant.objects.filter(pk=side.grants["chat:write"].pk).update(require_approval=held)
            case "keys":
                self.model.honours_keys = held
                Platform.objects.filter(pk=side.platform.pk).update(honours_idempotency_key=held)
            case _:  # twice, so that it is the same one under another version
                for text in (f"{self.platform.token} ", self.platform.token):
                    put(side.connection, take_in(side.connection, text))
                side.connection.save()
                self.model.credential = side.connection.credential_version

    @rule(which=WHICH)
    def poll(self, which: int) -> None:
        self._poll(self._pick(which, lambda e: True))

    def _poll(self, pk: UUID) -> None:
        response = Client().get(f"/v1/approvals/{pk}", headers=bearer(self.side.agent))
        assert response.status_code == (200 if self.model.rights["agent"] else 403)
        if response.status_code == 200:
            answer, expected = response.json(), self.model.calls[pk]
            assert answer["status"] == expected.decision
            assert ("result" in answer or "execution_error" in answer) == bool(expected.ending)

    @invariant()
    def rows_are_as_expected(self) -> None:
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT id, decision, execution_started_at, executed_at IS NOT NULL, outcome_unknown,"
                " result_json IS NOT NULL, execution_error IS NOT NULL, outcome_found, again_of_id"
                " FROM approvals_approvalrequest WHERE owner_id = %s",
                [self.side.owner.pk],
            )
            rows = {pk: facts for pk, *facts in cursor.fetchall()}
        assert rows.keys() == self.model.calls.keys()
        for pk, (decision, begun_at, done, unknown, result, error, found, again_of) in rows.items():
            expected = self.model.calls[pk]
            assert (decision, begun_at, again_of) == (expected.decision, expected.begun_at, expected.again_of)
            assert (done, unknown) == (expected.ending != "", expected.ending == "unknown")
            assert (result, error or result) == (expected.ending == "answered", done)
            assert found == (expected.found or "")

    @invariant()
    def nothing_is_sent_twice_or_without_a_decision(self) -> None:
        with self.platform.log.open() as log:
            log.seek(self.read)
            self.sends.update(json.loads(line)["headers"].get("Idempotency-Key") for line in log.readlines())
            self.read = log.tell()
        due = Counter[str | None]({None: self.model.direct} if self.model.direct else {})
        for expected in self.model.calls.values():
            if expected.sends:
                assert (expected.sends, expected.decision) == (1, "approved")
                due[str(expected.key)] += 1
        assert self.sends == due

    @invariant()
    def of_one_call_one_repeat_is_sent(self) -> None:
        repeats = [e.again_of for e in self.model.calls.values() if e.again_of and e.sends]
        assert len(repeats) == len(set(repeats))

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        owner, expected = self.side.owner, self.model.calls.values()
        rows = list(AuditEvent.objects.for_owner(owner.pk).values_list("event", "actor_kind"))
        events = Counter(event for event, _ in rows)
        assert events["approval.requested"] == len(expected)
        for decision in ("approved", "denied", "expired"):
            assert events[f"approval.{decision}"] == sum(e.decision == decision for e in expected)
        assert events["approval.sending"] == sum(e.begun_at is not None for e in expected)
        assert events["approval.outcome_checked"] == self.model.checks
        ends = ("approval.executed", "approval.failed", "approval.tampered", "approval.outcome_unknown")
        ended = sum(events[end] for end in ends) - self.model.late - rows.count(("approval.tampered", "member"))
        assert ended == sum(e.ending != "" for e in expected)
        assert verify_owner(owner_id=owner.pk).verifies
        sealed = ApprovalRequest.objects.for_owner(owner).filter(seal__isnull=False).exclude(seal=EDITS["seal"])
        assert sealed.values("seal").distinct().count() == sealed.count()  # each is bound to a decision of its own
        ApprovalRequest.objects.for_owner(owner)._raw_delete("default")  # the sweep looks at all owners' rows


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_order_of_events_breaks_a_promise(platform: CountingPlatform, settings: Settings, shard: int) -> None:
    assert settings.APPROVAL_LIFETIME == 600
    settings.MAX_PENDING = 0
    Product.platform = platform
    run_state_machine_as_test(
        seed(shard if "CI" in os.environ else uuid4().int)(Product),
        settings=effort(
            max_examples=EXAMPLES // SHARDS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
