"""The list of calls at /admin as a file for spreadsheets: who asked, who decided, what came of it; no contents."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from agents.models import User
from agents.reveal import reveal
from approvals.models import ApprovalRequest
from audit import exports
from audit.events import Actor, Event, Result
from audit.records import record

BATCH = 1000  # rows per query and per piece of the answer
# Not the call itself, its answer, or what opens or proves something: those can hold whatever an agent or platform sent.
COLUMNS = (
    "created_at", "id", "request_id", "owner_id", "agent_name", "agent_id", "platform", "scope", "connection_label",
    "connection_id", "reason", "requester_address", "session_id", "digest", "step_up", "expires_at", "again_of_id",
    "decision", "decided_at", "decided_by", "decided_by_id", "decided_via", "deny_reason", "evidence_digest",
    "execution_started_at", "executed_at", "result_status", "execution_error", "outcome_unknown", "outcome_found",
    "outcome_checked_at", "outcome_checked_by", "outcome_note",
)  # fmt: skip


def begin_export(
    *, rows: QuerySet[ApprovalRequest], user: User, asked: Mapping[str, str], request_id: UUID, now: datetime
) -> Iterator[bytes]:
    """The file, to be read piece by piece, newest first, with what was asked for up to `now`.

    That it leaves is on record before it is, with every owner whose rows are in it: who, the filters, how many.
    """
    rows = rows.filter(created_at__lte=now).order_by()
    with transaction.atomic(durable=True):
        counts = rows.values("owner_id").annotate(rows=Count("pk")).order_by("owner_id")  # one order for all: no circle
        for owner_id, count in counts.values_list("owner_id", "rows"):
            record(
                event=Event.APPROVAL_EXPORTED,
                result=Result.INFO,
                owner_id=owner_id,
                actor=Actor("member", str(user.pk), user.email),
                now=now,
                request_id=request_id,
                metadata={"kind": "csv", "filters": dict(asked), "rows": count},
            )
    return exports.sheet(COLUMNS, (map(_texts, batch) for batch in _batches(rows)), reveal=reveal)


def _batches(rows: QuerySet[ApprovalRequest]) -> Iterator[list[Mapping[str, Any]]]:
    ordered = rows.order_by("-created_at", "-pk").values(*COLUMNS)
    batch = list(ordered[:BATCH])
    while batch:
        yield batch
        last = batch[-1]
        older = Q(created_at__lt=last["created_at"]) | Q(created_at=last["created_at"], pk__lt=last["id"])
        batch = list(ordered.filter(older, created_at__lte=last["created_at"])[:BATCH])


def _texts(row: Mapping[str, Any]) -> list[str]:
    return [_text(row[column]) for column in COLUMNS]


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return "" if value is None else str(value)
