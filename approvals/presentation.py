"""What a person is shown of an approval row: the card with the whole call, and the sentence for a failed one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from uuid import UUID

from django.db.models import Max
from django.utils.safestring import SafeString

from agents.parents import parent_names
from agents.reveal import reveal, reveal_html
from approvals.call_display import Call, read_answer, read_call
from approvals.endings import Earlier, Ending, earlier_calls, ending_of
from approvals.models import ApprovalRequest, Decision
from approvals.payload import Payload
from approvals.step_up import is_demanded
from approvals.told import Telling, told_of
from platforms.models import StepUp
from platforms.step_up import scopes_that_demand


class CardState(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"  # approved, no outcome yet
    FINISHED = "finished"
    FAILED = "failed"
    UNKNOWN = "unknown"  # approved, and nobody knows whether it reached the platform
    DENIED = "denied"
    EXPIRED = "expired"
    TAMPERED = "tampered"  # pending, but the row is not what the agent asked for: nobody can decide it


STATE_NAMES = {state: state.capitalize() for state in CardState} | {
    CardState.UNKNOWN: "Outcome unknown",
    CardState.FINISHED: "Approved",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One approval row, ready for a template. Every text that an agent had a hand in is revealed and escaped."""

    approval: ApprovalRequest
    state: CardState
    agent_name: SafeString
    parent_name: SafeString  # empty, but for a child agent: whose child
    platform: SafeString
    scope: SafeString
    call: Call | None  # None if it has not been read (`too_long`) or cannot be
    told: Telling  # who was told, and whether it arrived
    too_long: bool  # for a list: it is read, and decided on, on its own page
    reason: SafeString
    connection: SafeString
    deny_reason: SafeString
    answer: Payload | None
    failure: SafeString
    last_made: datetime | None
    time_left: str
    step_up: bool  # decided on with a passkey only
    earlier: Earlier | None
    ending: Ending | None
    plain_parent: str = ""
    note: str = ""

    @property
    def key(self) -> str:
        """Changes when the card has to be drawn again; the time left is not part of it."""
        warns = "-warns" if self.earlier is not None and self.earlier.warns else ""
        passkey = "-passkey" if self.step_up else ""
        return f"{self.approval.digest[:16]}-{self.state}{self.approval.outcome_found}{warns}{passkey}"

    @property
    def state_name(self) -> str:
        return STATE_NAMES[self.state]

    @property
    def plain_name(self) -> str:
        """The card in a few words, for announcements."""
        child_of = f" (child of {self.plain_parent})" if self.plain_parent else ""
        return reveal(f"{self.approval.agent_name}{child_of}, {self.approval.platform} {self.approval.scope}")

    @property
    def expires_ms(self) -> int:
        """Milliseconds since 1970, for the countdown."""
        return int(self.approval.expires_at.timestamp() * 1000)

    @property
    def decidable(self) -> bool:
        return self.state == CardState.PENDING and not self.too_long


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an approved call, in a few words, and where it failed in one sentence."""

    approval: ApprovalRequest
    words: str
    sentence: SafeString  # "" unless it failed


def make_cards(*, approvals: Iterable[ApprovalRequest], now: datetime) -> list[Card]:
    """The cards of a list, in the given order. A row without its `form` is too long for it (`approvals.listing`)."""
    rows = list(approvals)
    last_made, earlier, parents, told = _last_made(rows), earlier_calls(rows), parents_of(rows), told_of(rows, now=now)
    demanding = {pair for owner_id in {row.owner_id for row in rows} for pair in scopes_that_demand(owner_id=owner_id)}
    return [
        _make_card(
            row,
            now=now,
            listed=True,
            last_made=last_made,
            earlier=earlier,
            parents=parents,
            told=told,
            step_up=row.step_up == StepUp.PASSKEY or (row.platform, row.scope) in demanding,
        )
        for row in rows
    ]


def make_card(*, approval: ApprovalRequest, now: datetime, note: str = "") -> Card:
    """The card of one row with all that there is to it."""
    return _make_card(
        approval,
        now=now,
        listed=False,
        last_made=_last_made([approval]),
        earlier=earlier_calls([approval]),
        parents=parents_of([approval]),
        told=told_of([approval], now=now),
        step_up=is_demanded(approval),
        note=note,
    )


def _make_card(
    approval: ApprovalRequest,
    *,
    now: datetime,
    listed: bool,
    last_made: Mapping[tuple[str, str], datetime],
    step_up: bool,
    earlier: Mapping[UUID, Earlier],
    parents: Mapping[str, str],
    told: Mapping[UUID, Telling],
    note: str = "",
) -> Card:
    state = state_of(approval, now)
    parent = parents.get(approval.agent_id, "")
    was_read = "form" not in approval.get_deferred_fields()
    call = read_call(approval, listed=listed) if was_read else None
    if state == CardState.PENDING and was_read and (call is None or not call.is_sound):
        state = CardState.TAMPERED
    return Card(
        approval=approval,
        state=state,
        agent_name=reveal_html(approval.agent_name),
        parent_name=reveal_html(parent) if parent else SafeString(""),
        plain_parent=parent,
        platform=reveal_html(approval.platform),
        scope=reveal_html(approval.scope),
        call=call,
        told=told[approval.pk],
        too_long=not was_read or (call is not None and call.too_long),
        reason=reveal_html(approval.reason) if approval.reason else SafeString(""),
        connection=reveal_html(approval.connection_label),
        deny_reason=reveal_html(approval.deny_reason) if approval.deny_reason else SafeString(""),
        answer=None if listed else read_answer(approval),
        failure=failure_of(approval),
        last_made=last_made.get((approval.agent_id, approval.digest)),
        time_left=_clock(int((approval.expires_at - now).total_seconds())),
        step_up=step_up,
        earlier=earlier.get(approval.pk),
        ending=None if listed else ending_of(approval),
        note=note,
    )


def outcome_of(approval: ApprovalRequest) -> Outcome:
    """What to say about a call that was approved and has ended."""
    sentence, status = failure_of(approval), approval.result_status
    words = STATE_NAMES[CardState.UNKNOWN] if approval.outcome_unknown else "Failed" if sentence else "Sent"
    return Outcome(approval=approval, words=words if status is None else f"{words}: {status}", sentence=sentence)


def failure_of(approval: ApprovalRequest) -> SafeString:
    """One sentence on why an approved call failed, "" if it did not."""
    status = approval.result_status
    if status is not None and status >= 300:
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
        return reveal_html(f"{approval.platform} answered {status} {phrase} to {approval.scope}.")
    if approval.execution_error:
        return reveal_html(f"{approval.platform}: {approval.execution_error}")
    return SafeString("")


def sentence_of_decision(approval: ApprovalRequest) -> str:
    """ "Already approved by {email} at {HH:MM} UTC", for somebody who came second."""
    if approval.decision == Decision.PENDING or approval.decided_at is None:
        return ""
    by = f" by {reveal(approval.decided_by)}" if approval.decided_by else ""
    return f"Already {approval.decision}{by} at {approval.decided_at:%H:%M} UTC"


def state_of(approval: ApprovalRequest, now: datetime) -> CardState:
    """What the row comes to, for people."""
    if approval.decision == Decision.PENDING:
        return CardState.PENDING if now < approval.expires_at else CardState.EXPIRED
    if approval.decision != Decision.APPROVED:
        return CardState(approval.decision)
    if approval.executed_at is None:
        return CardState.PROCESSING
    if approval.outcome_unknown:
        return CardState.UNKNOWN
    return CardState.FAILED if failure_of(approval) else CardState.FINISHED


def parents_of(approvals: list[ApprovalRequest]) -> dict[str, str]:
    """The name of the parent, for each agent that is a child: one query for the rows of one owner."""
    return {
        child_id: name
        for owner_id in {row.owner_id for row in approvals}
        for child_id, name in parent_names(owner_id=owner_id, agent_ids=[row.agent_id for row in approvals]).items()
    }


def _last_made(approvals: list[ApprovalRequest]) -> dict[tuple[str, str], datetime]:
    """When the same agent's same call was last sent: one query for all of them."""
    rows = (
        ApprovalRequest.objects.filter(
            agent_id__in={row.agent_id for row in approvals},
            digest__in={row.digest for row in approvals},
            execution_started_at__isnull=False,
        )
        .exclude(pk__in=[row.pk for row in approvals])
        .values_list("agent_id", "digest")
        .annotate(Max("execution_started_at"))
    )
    return {(agent_id, digest): at for agent_id, digest, at in rows}


def _clock(seconds: int) -> str:
    """9:58 for 598, 1:00:05 for 3605."""
    minutes, second = divmod(max(0, seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"
