"""Receipts: one row of the record with all that proves it, signed, to be checked without this server."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from agents.authentication import Caller
from agents.models import Owner
from approvals.binding import Form, check_row, check_seal
from approvals.evidence import evidence_of
from approvals.models import ApprovalRequest, Decision
from approvals.receipt_keys import signed
from approvals.step_up import check_stored
from approvals.verify_receipt import KEYS_PATH, did_of
from audit.events import Event, Result
from audit.models import AuditEvent

RECEIPTED = [
    Event.ACTION_ALLOWED,
    Event.ACTION_OBSERVED,
    Event.ACTION_DENIED,
    Event.ACTION_FAILED,
    Event.APPROVAL_APPROVED,
    Event.APPROVAL_DENIED,
    Event.APPROVAL_EXPIRED,
    Event.APPROVAL_EXECUTED,
    Event.APPROVAL_FAILED,
    Event.APPROVAL_OUTCOME_UNKNOWN,
]


def receipt_for_agent(*, caller: Caller, audit_id: UUID, now: datetime) -> dict[str, str]:
    """The receipt of one of the agent's own audit rows; who approved is in it as an id, without the e-mail address.

    Raises:
        AuditEvent.DoesNotExist: no such row of the agent, or one that there are no receipts of.
        Tampered: the approval behind it was changed; nothing false is signed.
    """
    rows = AuditEvent.objects.for_owner(caller.owner_id).filter(agent_id=caller.agent_id, event__in=RECEIPTED)
    return _receipt(rows.get(pk=audit_id), now=now, names=False)


def receipt_for_member(*, owner: Owner, approval_id: UUID, now: datetime) -> dict[str, str]:
    """The receipt of the last that happened to an approval of the owner's. Raises as `receipt_for_agent` does."""
    rows = AuditEvent.objects.for_owner(owner.pk).filter(approval_id=approval_id, event__in=RECEIPTED)
    event = rows.order_by("-seq").first()
    if event is None:
        raise AuditEvent.DoesNotExist
    return _receipt(event, now=now, names=True)


def _receipt(event: AuditEvent, *, now: datetime, names: bool) -> dict[str, str]:
    approval = None
    if event.approval_id is not None:
        approval = ApprovalRequest.objects.filter(owner_id=event.owner_id).get(pk=event.approval_id)
    claims = {
        "iss": settings.PUBLIC_URL,
        "sub": event.agent_id,
        "jti": str(event.pk),
        "iat": int(now.timestamp()),
        "av": _statement(event, approval, names=names),
    }
    kid, text = signed(claims)
    return {
        "audit_id": str(event.pk),
        "kid": kid,
        "jwks_url": settings.PUBLIC_URL + KEYS_PATH,
        "receipt": text,
        "did": did_of(settings.PUBLIC_URL),
    }


def _statement(event: AuditEvent, approval: ApprovalRequest | None, *, names: bool) -> dict[str, Any]:
    said = event.metadata
    form = check_row(approval) if approval is not None else None
    statement = {
        "platform": event.platform,
        "scope": event.action,
        "method": form.method if form else said.get("method", ""),
        "endpoint": form.endpoint if form else said.get("endpoint", ""),
        "result": _result(event),
        "decision": {
            "reason": event.reason,
            "policy_id": f"scope:{event.platform}/{event.action}",
            "policy_version": form.policy_version if form else "",
            "matched": [],
        },
        "trace_id": str(event.request_id or ""),
        "event": event.event,
        "at": event.at.isoformat(),
        "response_status": said.get("response_status"),
        "record": {"owner_id": str(event.owner_id), "seq": event.seq, "hash": bytes(event.hash).hex()},
    }
    if approval is not None and form is not None:
        statement["approval"] = _decision(approval, form, names=names)
    return statement


def _result(event: AuditEvent) -> str:
    """Whether the call was allowed; what the platform made of it is its status."""
    refused = {Event.ACTION_DENIED, Event.APPROVAL_DENIED, Event.APPROVAL_EXPIRED}
    return Result.DENIED.value if event.event in refused else Result.ALLOWED.value


def _decision(approval: ApprovalRequest, form: Form, *, names: bool) -> dict[str, Any]:
    if approval.decision in {Decision.APPROVED, Decision.DENIED}:
        check_seal(approval)
        check_stored(approval)
    evidence = evidence_of(approval.pk) if approval.evidence_digest else None
    decision = {
        "approval_id": str(approval.pk),
        "digest": approval.digest,
        "form": bytes(approval.form).decode("ascii"),
        "decision": approval.decision,
        "approver_id": approval.decided_by_id,
        "decided_via": approval.decided_via,
        "decided_at": approval.decided_at.isoformat() if approval.decided_at else None,
        "requested_at": approval.created_at.isoformat(),
        "expires_at": approval.expires_at.isoformat(),
        "deny_reason": approval.deny_reason,
        "step_up": approval.step_up,
        "assertion": evidence.statement() if evidence else None,
    }
    return decision | ({"approver": approval.decided_by} if names else {})
