"""What a person is shown of a call that has ended: what came of it, what can still be done, and its audit rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils.safestring import SafeString

from agents.reveal import reveal, reveal_html
from approvals.binding import Tampered
from approvals.models import ApprovalRequest, Decision, Finding
from approvals.outcome_record import MOST_REPEATS, check_outcome
from approvals.repeats import may_be_repeated
from audit.models import AuditEvent

MOST_EVENTS = 100  # of one approval; an ordinary one has five


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The call that a row repeats, in one sentence. `warns`: approving it may make the call a second time."""

    approval_id: UUID
    sentence: str
    warns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryLine:
    at: datetime
    event: str
    result: str
    by: SafeString
    reason: SafeString


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """`repeat` is the newest approval that repeats this one. `note` is what a person wrote about the outcome."""

    to_check: bool
    to_send_again: bool
    repeat: ApprovalRequest | None
    note: SafeString
    doubt: str  # why the outcome on the row is not to be believed, if so
    story: list[StoryLine]


def earlier_calls(approvals: Iterable[ApprovalRequest]) -> dict[UUID, Earlier]:
    """By the id of the row that repeats. No query where nothing is repeated, one more for each repeat of a repeat."""
    repeats = [row for row in approvals if row.again_of_id is not None]
    known: dict[UUID, ApprovalRequest] = {}
    missing = {row.again_of_id for row in repeats if row.again_of_id}
    for _ in range(MOST_REPEATS):
        if not missing:
            break
        rows = ApprovalRequest.objects.filter(pk__in=missing).defer("form", "result_json", "disclosure", "seal")
        known |= {row.pk: row for row in rows}
        missing = {row.again_of_id for row in known.values() if row.again_of_id} - known.keys()
    return {row.pk: _earlier(row, _telling(row.again_of_id, known)) for row in repeats if row.again_of_id in known}


def _telling(latest: UUID, known: Mapping[UUID, ApprovalRequest]) -> ApprovalRequest:
    """Of this call and those that it repeats, one after the other, one that is found to have happened; else this."""
    earlier: UUID | None = latest
    for _ in range(MOST_REPEATS):
        if earlier is None or earlier not in known:
            break
        if known[earlier].outcome_found == Finding.HAPPENED:
            return known[earlier]
        earlier = known[earlier].again_of_id
    return known[latest]


def _earlier(approval: ApprovalRequest, first: ApprovalRequest) -> Earlier:
    warns = first.outcome_unknown and first.outcome_found != Finding.NOT_HAPPENED
    if not first.outcome_unknown:
        sentence = "Repeats an earlier call that was not sent."
    elif first.outcome_found == Finding.HAPPENED:
        by = f"{reveal(first.outcome_checked_by)} found" if first.outcome_checked_by_id else "its late answer says"
        sentence = f"Repeats an earlier call that happened, as {by}: it is not sent, also when it is approved."
    elif not warns:
        sentence = f"Repeats an earlier call that did not happen, as {reveal(first.outcome_checked_by)} found."
    elif approval.same_key_as is not None:
        sentence = (
            "Repeats an earlier call whose outcome is unknown: it may have happened. It goes out under the same"
            " Idempotency-Key, by which the platform is to tell that it is the same call."
        )
    else:
        sentence = (
            "Repeats an earlier call whose outcome is unknown: it may have happened, and then this makes it a second"
            " time."
        )
    return Earlier(approval_id=first.pk, sentence=sentence, warns=warns)


def ending_of(approval: ApprovalRequest) -> Ending | None:
    """What is below the call on its own page; None while it waits or runs. Three or four queries."""
    if approval.decision == Decision.PENDING or (
        approval.decision == Decision.APPROVED and approval.executed_at is None
    ):
        return None
    doubt = _doubt(approval)
    return Ending(
        to_check=not doubt and approval.outcome_unknown and approval.outcome_checked_at is None,
        to_send_again=not doubt and may_be_repeated(approval),
        repeat=approval.repeats.order_by("-created_at").defer("form", "result_json", "disclosure", "seal").first(),
        note=reveal_html(approval.outcome_note) if approval.outcome_note else SafeString(""),
        doubt=doubt,
        story=_story(approval),
    )


def _doubt(approval: ApprovalRequest) -> str:
    try:
        check_outcome(approval)
    except Tampered as error:
        return str(error)
    return ""


def _story(approval: ApprovalRequest) -> list[StoryLine]:
    events = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk).order_by("seq")
    return [
        StoryLine(
            at=event.at,
            event=event.event,
            result=event.result,
            by=reveal_html(event.actor_label),
            reason=reveal_html(event.reason) if event.reason else SafeString(""),
        )
        for event in events.defer("canonical", "hash")[:MOST_EVENTS]
    ]
