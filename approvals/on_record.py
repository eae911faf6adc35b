"""What the audit log says of an approval, and whether the row still says the same: nobody takes a line out of that log.

The seal of a decision says what the row was when a person decided. What it was before, as the agent asked, and that
nobody has begun the call, is on record only.
"""

import hmac
from base64 import b64decode
from ipaddress import ip_address
from typing import cast

from django.conf import settings

from agents.models import Agent
from approvals.binding import Tampered, canonical_form
from approvals.models import ApprovalRequest
from approvals.rows import repeat_of
from audit.chain import timestamp
from audit.events import JSON, Event
from audit.models import AuditEvent

SHOWN = "shown"  # the key in the metadata of `approval.requested`


def shown_to_people(approval: ApprovalRequest) -> str:
    """HMAC-SHA256, hex, over all that a card shows of the row and the call's form does not hold (docs/binding.md).

    It is a keyed hash, because the free words of agents are in it, and the log never forgets.
    """
    parent = Agent.objects.filter(pk=approval.agent_id).values_list("parent__name", flat=True).first()
    address = approval.requester_address
    statement: dict[str, JSON] = {
        "approval_id": str(approval.pk),
        "request_id": str(approval.request_id),
        "digest": approval.digest,
        "agent_name": approval.agent_name,
        "parent_name": parent or "",
        "connection_label": approval.connection_label,
        "reason": approval.reason,
        "requester_address": str(ip_address(address)) if address else None,
        "session_id": approval.session_id,
        "disclosure": cast(JSON, approval.disclosure),
        "step_up": approval.step_up,
        "created_at": timestamp(approval.created_at),
        "expires_at": timestamp(approval.expires_at),
        **repeat_of(approval),
    }
    key = b64decode(settings.SEAL_KEY)
    return hmac.digest(key, b"agentvalet.request.v1\0" + canonical_form(statement), "sha256").hex()


def check_asked(approval: ApprovalRequest) -> None:
    """Hold the row against what was put on record when the agent asked. The caller holds the row's lock.

    Raises:
        Tampered: it was never asked for, or not like this.
    """
    rows = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk)
    asked = rows.filter(event=Event.APPROVAL_REQUESTED).order_by("seq").first()
    if asked is None:
        raise Tampered("the audit log does not say that it was asked for")
    said = asked.metadata
    if {name: said.get(name) for name in repeat_of(approval)} != repeat_of(approval):
        raise Tampered("the audit log says that another call is repeated, or none")
    # Rows of before there was such a hash have none on record; nobody can take it from those that have.
    if SHOWN in said and not hmac.compare_digest(str(said[SHOWN]), shown_to_people(approval)):
        raise Tampered("the audit log says that something else was asked for")


def check_decided(approval: ApprovalRequest) -> None:
    """Hold an approved row, which is about to run, against what was put on record when it was decided on.

    Raises:
        Tampered: it was begun before, it was not approved, or not like this.
    """
    rows = AuditEvent.objects.for_owner(approval.owner_id).filter(approval_id=approval.pk)
    told = {row.event: row for row in rows.filter(event__in=[Event.APPROVAL_APPROVED, Event.APPROVAL_SENDING])}
    if Event.APPROVAL_SENDING in told:
        raise Tampered("the audit log says that this call was begun before")
    if Event.APPROVAL_APPROVED not in told:
        raise Tampered("the audit log does not say that it was approved")
    if told[Event.APPROVAL_APPROVED].metadata.get("seal") != bytes(approval.seal or b"").hex():
        raise Tampered("the audit log says that it was decided on in another way")
