"""Putting on record that somebody was refused a decision: by the passkey, or for want of one. Once a minute each."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.delegate_model import Delegate
from agents.models import Member
from agents.passkey_answers import PasskeyRefused
from agents.passkey_refusals import note_refusal
from agents.throttling import first_in_a_minute
from approvals.rows import record_change
from approvals.step_up import PasskeyDemanded
from audit.events import Actor, Event, Result


def note_refused_decision(
    refusal: Exception, *, decider: Member | Delegate, request_id: UUID, address: str | None, now: datetime
) -> None:
    """In a transaction of its own. Of other refusals than those two there is nothing to record."""
    if isinstance(refusal, PasskeyRefused) and isinstance(decider, Member):
        note_refusal(refusal, user=decider.user, request_id=request_id, address=address, now=now, what="decide")
    if isinstance(refusal, PasskeyDemanded):
        if not first_in_a_minute(key=f"passkey-missing:{decider.pk}:{refusal.approval.pk}", now=now):
            return
        with transaction.atomic():
            record_change(
                refusal.approval,
                Event.APPROVAL_PASSKEY_MISSING,
                Result.DENIED,
                actor=_actor(decider),
                now=now,
                metadata={"address": address},
            )


def _actor(decider: Member | Delegate) -> Actor:
    if isinstance(decider, Delegate):
        return Actor("delegate", str(decider.pk), decider.email)
    return Actor("member", str(decider.user_id), decider.user.email)
