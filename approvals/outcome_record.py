"""How a call ended, as the audit log has it: the outcome on the row is believed only while it is the one on record."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, F, Func, OuterRef

from approvals.binding import Tampered
from approvals.models import ApprovalRequest, Finding
from approvals.rights import RightLost
from audit.chain import timestamp
from audit.events import Event
from audit.models import AuditEvent

MOST_REPEATS = 100  # of repeats, one after the other
OUTCOME = "outcome_digest"  # the key in the metadata of a row that ended a call
ENDINGS = frozenset(
    {Event.APPROVAL_EXECUTED, Event.APPROVAL_FAILED, Event.APPROVAL_OUTCOME_UNKNOWN, Event.APPROVAL_TAMPERED}
)
_NOTHING_FOUND = ("", "", False, "", "")
_TOLD = [*ENDINGS, Event.APPROVAL_OUTCOME_CHECKED]

# For `annotate`: what `check_outcome` needs of the log, in the query that reads the row.
ENDINGS_TOLD = ArraySubquery(
    AuditEvent.objects.filter(approval_id=OuterRef("pk"), owner_id=OuterRef("owner_id"), event__in=_TOLD)
    .order_by("seq")
    .values("canonical")
)
_RESULT_SHA256 = Func(
    F("result_json"), template="encode(sha256(convert_to(%(expressions)s, 'UTF8')), 'hex')", output_field=CharField()
)


def outcome_digest(approval: ApprovalRequest) -> str:
    """SHA-256, hex, over the outcome on the row (docs/binding.md). PostgreSQL hashes what was not read."""
    if "result_json" in approval.get_deferred_fields():
        result = ApprovalRequest.objects.filter(pk=approval.pk).values_list(_RESULT_SHA256, flat=True).get()
    else:
        result = None if approval.result_json is None else hashlib.sha256(approval.result_json.encode()).hexdigest()
    statement = {
        "approval_id": str(approval.pk),
        "executed_at": timestamp(approval.executed_at) if approval.executed_at else None,
        "result_status": approval.result_status,
        "result_sha256": result,
        "execution_error": approval.execution_error,
        "outcome_unknown": approval.outcome_unknown,
    }
    return hashlib.sha256(json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_outcome(approval: ApprovalRequest, told: list[str] | None = None) -> None:
    """Hold outcome and finding on the row against the audit log. `told`: what `ENDINGS_TOLD` has brought along.

    Raises:
        Tampered: the log says that it ended in another way, or not at all, or that something else was found.
    """
    if told is None:
        rows = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk, event__in=_TOLD)
        told = list(rows.order_by("seq").values_list("canonical", flat=True))
    ended, found = "", _NOTHING_FOUND
    for line in told:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == Event.APPROVAL_OUTCOME_CHECKED:
            by_person = event["actor_kind"] == "member"
            found = event["metadata"].get("found", ""), event["actor_label"], by_person, event["at"], event["reason"]
        else:  # the first ending is the one; an answer that comes later has none to name
            ended = ended or event["metadata"].get(OUTCOME, "")
    if approval.executed_at is None and not ended:
        return
    if ended != outcome_digest(approval):
        raise Tampered("the audit log says that it ended in another way" if ended else "its ending is not on record")
    if found != _found_on(approval):
        raise Tampered("the audit log says that something else was found on the platform")


def _found_on(approval: ApprovalRequest) -> tuple[str, str, bool, str, str]:
    """What was found, by whom, whether that is a person, when, and the note: as the row has it."""
    at = timestamp(approval.outcome_checked_at) if approval.outcome_checked_at else ""
    by_person = approval.outcome_checked_by_id != ""
    return approval.outcome_found, approval.outcome_checked_by, by_person, at, approval.outcome_note


def check_not_ended(approval: ApprovalRequest) -> None:
    """Raises Tampered where the audit log says that the call has an outcome, whatever the row says."""
    rows = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk, event__in=list(ENDINGS))
    if any(OUTCOME in row.metadata for row in rows):  # a decision that was refused as tampered with ended nothing
        raise Tampered("the audit log says that this call ended before")


def repeated_by(approval: ApprovalRequest) -> Iterator[ApprovalRequest]:
    """The call that this one repeats, the one that that one repeats, and so on to the first.

    Raises RightLost for a row that repeats itself, or more often than any person would.
    """
    earlier = approval.again_of
    for _ in range(MOST_REPEATS):
        if earlier is None:
            return
        yield earlier
        earlier = earlier.again_of
    if earlier is not None:
        raise RightLost("already_repeated", f"The call was repeated more than {MOST_REPEATS} times.")


def is_found_to_have_happened(approval: ApprovalRequest) -> bool:
    """Whether a finding on record, a person's or a late answer's, says so."""
    rows = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk)
    checks = rows.filter(event=Event.APPROVAL_OUTCOME_CHECKED)
    return any(check.metadata.get("found") == Finding.HAPPENED for check in checks)


def check_repeat(approval: ApprovalRequest) -> None:
    """Of what is known to have happened no repeat is sent, nor a second one of what was sent again already.

    The caller holds the head of the owner's chain, so that two repeats are checked one after the other.

    Raises:
        RightLost: a finding on record says so of a call that this one repeats, if only by another repeat; or another
            repeat was begun.
    """
    first = approval.again_of
    if first is None:
        return
    if any(is_found_to_have_happened(earlier) for earlier in repeated_by(approval)):
        raise RightLost("already_happened", "The call that this one repeats was found to have happened.")
    if first.repeats.reaching().filter(execution_started_at__isnull=False).exists():
        raise RightLost("already_repeated", "The call that this one repeats was sent again already.")
