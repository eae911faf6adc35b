"""What must be true of every call of the state machine's agent, kept beside the database and never read back from it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from approvals import runs
from approvals.models import ApprovalRequest, Finding
from approvals.rights import START_WITHIN

# What an approved call rests on besides itself.
RIGHTS = ("agent", "grant", "rule", "decider")

# Text, credential version and whether the grant asks: what makes two calls of the machine's agent the same.
Call = tuple[Any, int, bool]


@dataclass(kw_only=True)
class Expected:
    """What must be true of one approval, kept beside the database."""

    pk: UUID
    call: Call
    digest: str
    credential: int
    created_at: datetime
    expires_at: datetime
    again_of: UUID | None = None
    key: UUID
    decision: str = "pending"
    decided_at: datetime | None = None
    edited: bool = False
    begun_at: datetime | None = None
    ending: str = ""  # "answered", "unknown" or "not sent"
    found: Finding | None = None
    sends: int = 0
    awaits_answer: bool = False

    @property
    def reached(self) -> bool:
        """It was sent, may have been, or may still be."""
        return self.decision == "approved" and self.ending != "not sent"

    @property
    def may_be_repeated(self) -> bool:
        return self.ending in {"not sent", "unknown"} and self.found != Finding.HAPPENED


class Model:
    """The calls of one agent, and what they rest on. The verbs change what is expected and say what comes of them."""

    def __init__(self, *, now: datetime) -> None:
        self.now = now
        self.calls: dict[UUID, Expected] = {}
        self.rights = dict.fromkeys(RIGHTS, True)
        self.asks = True
        self.honours_keys = False
        self.credential = 1
        self.direct = self.checks = self.late = 0

    def may_ask(self) -> bool:
        return all(self.rights[right] for right in ("agent", "grant", "rule"))

    def twin(self, call: Call) -> Expected | None:
        """The same call, which waits already; one whose time is over ends when it is met."""
        for expected in self.calls.values():
            if expected.call == call and expected.decision == "pending" and self.now < expected.expires_at:
                return expected
        return None

    def add(self, row: ApprovalRequest, call: Call, again_of: UUID | None = None, key: UUID | None = None) -> None:
        assert row.pk not in self.calls
        assert (row.decision, row.seal, row.again_of_id) == ("pending", None, again_of)
        for expected in self.calls.values():
            if expected.call == call and expected.decision == "pending":
                expected.decision = "expired"
        self.calls[row.pk] = Expected(
            pk=row.pk,
            call=call,
            digest=row.digest,
            credential=self.credential,
            created_at=self.now,
            expires_at=self.now + timedelta(seconds=600),
            again_of=again_of,
            key=key or row.pk,
        )

    def will_begin(self, pk: UUID) -> bool:
        """Whether a worker may begin now; a row that it will refuse is done by that."""
        expected = self.calls[pk]
        if expected.decided_at is None or expected.decision != "approved" or expected.begun_at or expected.ending:
            return False
        rightful = (
            all(self.rights.values())
            and not expected.edited
            and expected.credential == self.credential
            and self.now <= expected.decided_at + START_WITHIN
            and (self.honours_keys or expected.key == pk)
        )
        if expected.again_of is not None:
            rightful = rightful and not self.has_happened(expected) and not self.is_repeated(expected.again_of)
        if rightful:
            expected.begun_at = self.now
        else:
            expected.ending = "not sent"
        return rightful

    def has_happened(self, repeat: Expected) -> bool:
        """Whether a call that this one repeats, at whatever remove, was found to have happened."""
        while repeat.again_of is not None:
            repeat = self.calls[repeat.again_of]
            if repeat.found == Finding.HAPPENED:
                return True
        return False

    def is_repeated(self, first: UUID) -> bool:
        """Whether a repeat of this call has begun, and not come to nothing."""
        return any(e.again_of == first and e.begun_at and e.reached for e in self.calls.values())

    def to_send_again(self, pk: UUID) -> tuple[Expected | None, Expected | None]:
        """The call that a repeat of this one stands for, None if it is refused; and the repeat that waits already."""
        asked = first = self.calls[pk]
        if asked.again_of is not None and asked.ending != "unknown":
            first = self.calls[asked.again_of]
        repeats = [e for e in self.calls.values() if e.again_of == first.pk]
        repeatable = asked.may_be_repeated and first.may_be_repeated and not self.has_happened(asked)
        if not repeatable or any(e.reached for e in repeats):
            return None, None
        in_time = [e for e in repeats if e.decision == "pending" and self.now < e.expires_at]
        if in_time:
            return first, max(in_time, key=lambda e: e.created_at)
        own = (e for e in self.calls.values() if e.again_of is None and e.created_at > first.created_at)
        done_since = any(e.reached and e.call in {first.call, self.again(first)} for e in own)
        if first.edited or not self.may_ask() or done_since:
            return None, None
        twin = self.twin(self.again(first))
        return (None, None) if twin is not None and twin.again_of is None else (first, twin)

    def again(self, first: Expected) -> Call:
        return (first.call[0], self.credential, self.asks)

    def sweep(self) -> None:
        for expected in self.calls.values():
            if expected.decision == "pending" and expected.expires_at <= self.now:
                expected.decision = "expired"
            if expected.begun_at and not expected.ending and abs(self.now - expected.begun_at) >= runs.lease():
                expected.ending = "unknown"  # also if it lies ahead: the clock was put back
