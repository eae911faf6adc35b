"""Whether an outcome is on record already, for `platforms.written.until_written` after a try that broke."""

from uuid import UUID

from audit.events import Event
from audit.models import AuditEvent


def outcome_on_record(owner_id: UUID, request_id: UUID, event: Event) -> UUID | None:
    """The id of the audit row with the outcome of a direct call, if it is there."""
    rows = AuditEvent.objects.for_owner(owner_id).filter(request_id=request_id, event=event)
    return rows.values_list("pk", flat=True).first()
