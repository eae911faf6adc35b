"""What every change of an approval row is made of: the lock, the version, the audit row.

Locks are taken in one order everywhere: approval row, then the owner's queue, then (in `audit.records`) the chain head.
"""

from datetime import datetime
from uuid import UUID

from django.db import connection

from agents.models import Owner
from approvals.models import ApprovalQuerySet, ApprovalRequest
from audit.events import JSON, Actor, Event, Result
from audit.records import hold_head, record

SYSTEM = Actor("system", "worker", "AgentValet")


def locked(approval_id: UUID, owner: Owner | None = None) -> ApprovalRequest:
    """The row, locked until the end of the caller's transaction. Raises ApprovalRequest.DoesNotExist."""
    rows = locked_rows()
    return (rows if owner is None else rows.for_owner(owner)).get(pk=approval_id)


def locked_rows() -> ApprovalQuerySet:
    """Rows that are locked as they are read, until the end of the caller's transaction."""
    return ApprovalRequest.objects.select_for_update(of=("self",), no_key=True)


def next_version(owner_id: UUID) -> int:
    """Move the owner's queue on by one, and hold it until the caller's transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO approvals_queue (owner_id, version) VALUES (%s, 1)"
            " ON CONFLICT (owner_id) DO UPDATE SET version = approvals_queue.version + 1 RETURNING version",
            [owner_id],
        )
        return int(cursor.fetchone()[0])


def hold_queue_and_head(owner_id: UUID) -> None:
    """Take at once the locks that a change of the row takes after the row's own: so that reading comes after them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM approvals_queue WHERE owner_id = %s FOR NO KEY UPDATE", [owner_id])
    hold_head(owner_id)


def save_changes(approval: ApprovalRequest, *fields: str) -> None:
    """Write the changed columns and move the owner's queue on. The caller holds the row's lock."""
    approval.queue_version = next_version(approval.owner_id)
    approval.save(update_fields=[*fields, "queue_version"])


def repeat_of(approval: ApprovalRequest) -> dict[str, JSON]:
    """Which call the row repeats, who had it repeated, and under which Idempotency-Key it goes: as it is on record."""
    if approval.again_of_id is None:
        return {"again_of": None, "again_by": None, "idempotency_key": None}
    return {
        "again_of": str(approval.again_of_id),
        "again_by": approval.again_by,
        "idempotency_key": approval.idempotency_key,
    }


def record_change(
    approval: ApprovalRequest,
    event: Event,
    result: Result,
    *,
    actor: Actor,
    now: datetime,
    reason: str = "",
    metadata: dict[str, JSON] | None = None,
    audit_id: UUID | None = None,
) -> UUID:
    """Put a change of the row on record. The agent's session is on every row but those of what a person did."""
    return record(
        event=event,
        result=result,
        owner_id=approval.owner_id,
        actor=actor,
        now=now,
        request_id=approval.request_id,
        approval_id=approval.pk,
        agent_id=approval.agent_id,
        agent_name=approval.agent_name,
        platform=approval.platform,
        action=approval.scope,
        session_id="" if actor.kind == "member" else approval.session_id,
        reason=reason,
        metadata={"digest": approval.digest, **(metadata or {})},
        audit_id=audit_id,
    )
