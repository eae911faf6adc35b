"""Denying several calls of one agent at once. There is no approving at once: a person reads what runs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection

from agents.models import Member
from approvals import services
from approvals.decision_refusals import note_refused_decision
from approvals.listing import MOST_CARDS
from approvals.models import ApprovalRequest, Decision
from approvals.step_up import PasskeyDemanded
from approvals.transitions import AlreadyDecided, StaleDigest

logger = logging.getLogger(__name__)

Refusal = AlreadyDecided | StaleDigest | PasskeyDemanded


class Shown(NamedTuple):
    """One call as it was displayed."""

    approval_id: UUID
    digest: str


class CannotDenyTogether(Exception):
    """Nothing was decided; the text is a sentence for the member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denials:
    """What came of each, in the order of the selection."""

    denied: list[ApprovalRequest] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)  # each with its row as `approval`
    failed: list[ApprovalRequest] = field(default_factory=list)  # the database did not take it: still as it was
    unknown: list[ApprovalRequest] = field(default_factory=list)  # and it does not say either whether it did


def deny_together(
    *,
    member: Member,
    selected: Sequence[Shown],
    reason: str,
    request_id: UUID,
    address: str | None,
    now: datetime,
) -> Denials:
    """Deny each of the displayed calls as if it were the only one, in a transaction of its own.

    So one that somebody else was faster with, or that has changed, or that demands a passkey, or that the database does
    not take keeps none of the others.

    Raises:
        NotAllowed: the member is an auditor.
        ApprovalRequest.DoesNotExist: one of them is not a row of the member's owner; nothing was decided.
        CannotDenyTogether: none is selected, too many are, or they are not of one agent.
    """
    chosen = list(dict.fromkeys(selected))
    found = ApprovalRequest.objects.for_owner(member.owner).filter(pk__in={one.approval_id for one in chosen})
    rows = {row.pk: row for row in found.only("agent_id", "agent_name", "platform", "scope", "digest")}
    if any(one.approval_id not in rows for one in chosen):
        raise ApprovalRequest.DoesNotExist
    if not member.may_decide:
        raise services.NotAllowed
    if not chosen:
        raise CannotDenyTogether("Nothing was selected. Nothing was decided.")
    if len(chosen) > MOST_CARDS:
        raise CannotDenyTogether(f"No more than {MOST_CARDS} calls are denied at once. Nothing was decided.")
    if len({row.agent_id for row in rows.values()}) > 1:
        raise CannotDenyTogether("Only calls of one agent are denied together. Nothing was decided.")
    outcome = Denials()
    for one in chosen:
        try:
            try:
                outcome.denied.append(
                    services.deny(
                        member=member,
                        approval_id=one.approval_id,
                        digest=one.digest,
                        reason=reason,
                        via="dashboard",
                        now=now,
                    )
                )
            except (AlreadyDecided, StaleDigest, PasskeyDemanded) as refusal:
                outcome.refused.append(refusal)
                note_refused_decision(refusal, decider=member, request_id=request_id, address=address, now=now)
        except (DatabaseError, InterfaceError):
            logger.exception("denying approval %s with others failed", one.approval_id)
            if not any(refusal.approval.pk == one.approval_id for refusal in outcome.refused):
                _after_a_break(outcome, rows[one.approval_id], member, now)
    return outcome


def _after_a_break(outcome: Denials, row: ApprovalRequest, member: Member, now: datetime) -> None:
    """Whether it was committed all the same: what breaks may be the commit's answer, or what comes after it."""
    try:
        if not connection.in_atomic_block:
            connection.close()  # it may be what broke
        is_denied = ApprovalRequest.objects.filter(
            pk=row.pk, decision=Decision.DENIED, decided_by_id=str(member.pk), decided_at=now
        ).exists()
    except (DatabaseError, InterfaceError):
        outcome.unknown.append(row)
        return
    (outcome.denied if is_denied else outcome.failed).append(row)
