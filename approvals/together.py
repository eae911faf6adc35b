"""Denying several calls of one agent at once. There is no approving at once: a person reads what runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from agents.models import Member
from approvals import services
from approvals.decision_refusals import note_refused_decision
from approvals.listing import MOST_CARDS
from approvals.models import ApprovalRequest
from approvals.step_up import PasskeyDemanded
from approvals.transitions import AlreadyDecided, StaleDigest

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

    denied: list[ApprovalRequest]
    refused: list[Refusal]  # each with its row as `approval`


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

    So one that somebody else was faster with, or that has changed, or that demands a passkey keeps none of the others.

    Raises:
        NotAllowed: the member is an auditor.
        ApprovalRequest.DoesNotExist: one of them is not a row of the member's owner; nothing was decided.
        CannotDenyTogether: none is selected, too many are, or they are not of one agent.
    """
    chosen = list(dict.fromkeys(selected))
    rows = ApprovalRequest.objects.for_owner(member.owner).filter(pk__in={one.approval_id for one in chosen})
    agents = dict(rows.values_list("pk", "agent_id"))
    if any(one.approval_id not in agents for one in chosen):
        raise ApprovalRequest.DoesNotExist
    if not member.may_decide:
        raise services.NotAllowed
    if not chosen:
        raise CannotDenyTogether("Nothing was selected. Nothing was decided.")
    if len(chosen) > MOST_CARDS:
        raise CannotDenyTogether(f"No more than {MOST_CARDS} calls are denied at once. Nothing was decided.")
    if len(set(agents.values())) > 1:
        raise CannotDenyTogether("Only calls of one agent are denied together. Nothing was decided.")
    outcome = Denials(denied=[], refused=[])
    for one in chosen:
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
            note_refused_decision(refusal, decider=member, request_id=request_id, address=address, now=now)
            outcome.refused.append(refusal)
    return outcome
