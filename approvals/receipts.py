"""Receipts: one row of the record with all that proves it, signed, to be checked without this server."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from agents.authentication import Caller
from agents.models import Owner
from approvals.binding import Tampered, check_row, check_seal
from approvals.evidence import evidence_of
from approvals.models import ApprovalRequest, Decision
from approvals.on_record import check_asked
from approvals.receipt_keys import signed
from approvals.step_up import check_stored
from approvals.verify_receipt import KEYS_PATH, did_of
from audit.events import Event, Result
from audit.models import AuditEvent
from audit.verify import flaw_of_row

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
    Event.APPROVAL_TAMPERED,
]
_DECISIONS = {
    Event.APPROVAL_APPROVED: Decision.APPROVED,
    Event.APPROVAL_DENIED: Decision.DENIED,
    Event.APPROVAL_EXPIRED: Decision.EXPIRED,
}
_OUTCOMES = {Event.APPROVAL_EXECUTED, Event.APPROVAL_FAILED, Event.APPROVAL_OUTCOME_UNKNOWN}
_REFUSED = {Event.ACTION_DENIED, Event.APPROVAL_DENIED, Event.APPROVAL_EXPIRED, Event.APPROVAL_TAMPERED}


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
    _check_row_of_log(event)
    approval = None
    if event.approval_id is not None:
        approval = ApprovalRequest.objects.filter(owner_id=event.owner_id).get(pk=event.approval_id)
        _check_against_log(approval, event)
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


def _check_row_of_log(event: AuditEvent) -> None:
    if reason := flaw_of_row(event):
        raise Tampered(f"a row of the audit log is not as it was written: {reason}")


def _check_against_log(approval: ApprovalRequest, event: AuditEvent) -> None:
    """What the row has to say follows from the log, and not from the row: one that was edited signs nothing.

    Raises:
        Tampered: they disagree, or the row was found to be changed after the decision.
    """
    check_asked(approval)
    rows = AuditEvent.objects.for_owner(event.owner_id).filter(approval_id=approval.pk)
    told = list(rows.filter(event__in=[*_DECISIONS, Event.APPROVAL_TAMPERED]).order_by("seq"))
    decisions = [row for row in told if row.event in _DECISIONS]
    if len(decisions) > 1:
        raise Tampered("the audit log holds two decisions")
    decided = decisions[0] if decisions else None
    if approval.decision != (_DECISIONS[Event(decided.event)] if decided else Decision.PENDING):
        raise Tampered("the audit log holds another decision, or none")
    if event.event in _OUTCOMES and approval.decision != Decision.APPROVED:
        raise Tampered("the audit log holds an outcome and no approval")
    if decided is None:
        return
    _check_row_of_log(decided)
    if approval.decided_at != decided.at:
        raise Tampered("the audit log holds another time of the decision")
    if event.event != Event.APPROVAL_TAMPERED and any(row.seq > decided.seq for row in told):
        raise Tampered("the row was found to be changed after the decision")
    if approval.decision != Decision.EXPIRED:
        check_seal(approval)
        check_stored(approval)
        if decided.metadata.get("seal") != bytes(approval.seal or b"").hex():
            raise Tampered("the audit log holds another seal")


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
        "record": {"owner_id": str(event.owner_id), "hash": bytes(event.hash).hex()}
        | ({"seq": event.seq} if names else {}),  # how much an owner's other agents do is no agent's business
    }
    if approval is not None and form is not None:
        statement["approval"] = _decision(approval, names=names)
    return statement


def _result(event: AuditEvent) -> str:
    """Whether the call was allowed; what the platform made of it is its status."""
    # A call that was approved and refused at the last check, because a right was gone, is on record as denied.
    denied = event.event in _REFUSED or event.result == Result.DENIED
    return Result.DENIED.value if denied else Result.ALLOWED.value


def _decision(approval: ApprovalRequest, *, names: bool) -> dict[str, Any]:
    by_person = approval.decision in {Decision.APPROVED, Decision.DENIED}
    evidence = evidence_of(approval.pk) if by_person and approval.evidence_digest else None
    assertion = evidence.statement() if evidence else None
    if assertion is not None and not names:
        del assertion["credential_id"]  # with it, anybody could try the approver's passkey at the sign-in
    decision = {
        "approval_id": str(approval.pk),
        "digest": approval.digest,
        "form": bytes(approval.form).decode("ascii"),
        "decision": approval.decision,
        "approver_id": approval.decided_by_id if by_person else None,
        "decided_via": approval.decided_via if by_person else None,
        "decided_at": approval.decided_at.isoformat() if approval.decided_at else None,
        "requested_at": approval.created_at.isoformat(),
        "expires_at": approval.expires_at.isoformat(),
        "deny_reason": approval.deny_reason if by_person else "",
        "step_up": approval.step_up,
        "assertion": assertion,
    }
    return decision | ({"approver": approval.decided_by if by_person else None} if names else {})
