"""What a person is shown of an approval row: the card with the whole call, and the sentence for a failed one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import urlsplit

from django.db.models import Max
from django.utils.safestring import SafeString

from agents.reveal import reveal, reveal_html
from approvals.binding import Form, FormError, Tampered, check_row, read_form
from approvals.models import ApprovalRequest, Decision
from approvals.payload import Payload, first_line, lay_out

__all__ = ["Card", "CardState", "Outcome", "make_card", "make_cards", "outcome_of", "reveal", "sentence_of_decision"]

# Characters of payload that one page lays out. An agent may queue many large calls; the rest is read, and decided on,
# one page each.
PAGE_BUDGET = 256 * 1024
ACTION_LENGTH = 80  # characters of the path on the closed card


class CardState(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"  # approved, no outcome yet
    FINISHED = "finished"
    FAILED = "failed"
    DENIED = "denied"
    EXPIRED = "expired"
    TAMPERED = "tampered"  # pending, but the row is not what the agent asked for: nobody can decide it


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The whole call, revealed. `payload` is None without a body, or where `Card.too_long` says so."""

    method: SafeString
    url: SafeString
    content_type: SafeString
    payload: Payload | None
    length: int  # characters of the body


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One approval row, ready for a template. Every text that an agent had a hand in is revealed and escaped."""

    approval: ApprovalRequest
    state: CardState
    agent_name: SafeString
    platform: SafeString
    scope: SafeString
    action: SafeString
    summary: SafeString
    summary_cut: bool
    call: Call | None
    too_long: bool
    reason: SafeString
    connection: SafeString
    deny_reason: SafeString
    answer: Payload | None
    failure: SafeString
    last_made: datetime | None
    time_left: str
    note: str = ""

    @property
    def key(self) -> str:
        """Changes when the card has to be drawn again; the time left is not part of it."""
        return f"{self.approval.digest[:16]}-{self.state}"

    @property
    def plain_name(self) -> str:
        """The card in a few words, for announcements."""
        return reveal(f"{self.approval.agent_name}, {self.approval.platform} {self.approval.scope}")

    @property
    def expires_ms(self) -> int:
        """Milliseconds since 1970, for the countdown."""
        return int(self.approval.expires_at.timestamp() * 1000)

    @property
    def decidable(self) -> bool:
        return self.state == CardState.PENDING and not self.too_long


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An approved call that failed, in one sentence."""

    approval: ApprovalRequest
    sentence: SafeString


def make_cards(*, approvals: Iterable[ApprovalRequest], now: datetime) -> list[Card]:
    """Cards of one page, in the given order; the payloads share PAGE_BUDGET."""
    rows = list(approvals)
    last_made = _last_made(rows)
    cards, budget = [], PAGE_BUDGET
    for row in rows:
        card = make_card(approval=row, now=now, budget=budget, last_made=last_made)
        if card.call is not None and card.call.payload is not None:
            budget -= card.call.length
        cards.append(card)
    return cards


def make_card(
    *,
    approval: ApprovalRequest,
    now: datetime,
    budget: int | None = None,
    last_made: Mapping[tuple[str, str], datetime] | None = None,
    note: str = "",
) -> Card:
    """The card of one row. `budget`: how many characters of payload may be laid out, None for any number."""
    state = _state(approval, now)
    form: Form | None
    try:
        form = check_row(approval)
    except Tampered:
        state = CardState.TAMPERED if state == CardState.PENDING else state
        form = _form_as_stored(approval)
    body = form.body if form else None
    times = _last_made([approval]) if last_made is None else last_made
    too_long = body is not None and budget is not None and len(body) > budget
    summary, cut = first_line(body) if body is not None else ("", False)
    return Card(
        approval=approval,
        state=state,
        agent_name=reveal_html(approval.agent_name),
        platform=reveal_html(approval.platform),
        scope=reveal_html(approval.scope),
        action=reveal_html(_action(form)) if form else SafeString(""),
        summary=reveal_html(summary),
        summary_cut=cut,
        call=None
        if form is None
        else Call(
            method=reveal_html(form.method),
            url=reveal_html(form.url),
            content_type=reveal_html(form.content_type),
            payload=None if body is None or too_long else lay_out(body),
            length=len(body or ""),
        ),
        too_long=too_long,
        reason=reveal_html(approval.reason) if approval.reason else SafeString(""),
        connection=reveal_html(approval.connection_label),
        deny_reason=reveal_html(approval.deny_reason) if approval.deny_reason else SafeString(""),
        answer=lay_out(approval.result_json) if approval.result_json and budget is None else None,
        failure=failure_of(approval),
        last_made=times.get((approval.agent_id, approval.digest)),
        time_left=_clock(int((approval.expires_at - now).total_seconds())),
        note=note,
    )


def outcome_of(approval: ApprovalRequest) -> Outcome | None:
    """What to say about a call that was approved and failed; None for any other."""
    sentence = failure_of(approval)
    return Outcome(approval=approval, sentence=sentence) if sentence else None


def failure_of(approval: ApprovalRequest) -> SafeString:
    """One sentence on why an approved call failed, "" if it did not."""
    if approval.execution_error:
        return reveal_html(f"{approval.platform}: {approval.execution_error}")
    status = approval.result_status
    if status is None or status < 300:
        return SafeString("")
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "unknown status"
    return reveal_html(f"{approval.platform} answered {status} {phrase} to {approval.scope}.")


def sentence_of_decision(approval: ApprovalRequest) -> str:
    """ "Already approved by {email} at {HH:MM} UTC", for somebody who came second."""
    if approval.decision == Decision.PENDING or approval.decided_at is None:
        return ""
    by = f" by {reveal(approval.decided_by)}" if approval.decided_by else ""
    return f"Already {approval.decision}{by} at {approval.decided_at:%H:%M} UTC"


def _state(approval: ApprovalRequest, now: datetime) -> CardState:
    if approval.decision == Decision.PENDING:
        return CardState.PENDING if now < approval.expires_at else CardState.EXPIRED
    if approval.decision != Decision.APPROVED:
        return CardState(approval.decision)
    if approval.executed_at is None:
        return CardState.PROCESSING
    return CardState.FAILED if failure_of(approval) else CardState.FINISHED


def _form_as_stored(approval: ApprovalRequest) -> Form | None:
    """For looking only: a row that fails its checks is not decided on."""
    try:
        return read_form(bytes(approval.form))
    except FormError:
        return None


def _action(form: Form) -> str:
    """Method and path as the closed card shows them, a cut marked."""
    path = urlsplit(form.url).path or "/"
    return f"{form.method} {path}" if len(path) <= ACTION_LENGTH else f"{form.method} {path[:ACTION_LENGTH]}… (cut)"


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
