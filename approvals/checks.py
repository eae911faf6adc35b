"""Everything an approved call rests on, read again: the row as it was shown, the decision over it, every right."""

import logging
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError

from approvals.binding import Form, Tampered, check_row, check_seal
from approvals.models import ApprovalRequest
from approvals.on_record import check_asked, check_decided
from approvals.outcome_record import check_not_ended, check_repeat
from approvals.rights import RightLost, current_coverage
from approvals.step_up import check_demand, check_evidence
from platforms.coverage import Coverage

logger = logging.getLogger(__name__)

UNCHECKED = "unexpected"  # the reason of a refusal that comes of a check that broke


def checked(approval: ApprovalRequest, *, now: datetime) -> tuple[Form, Coverage]:
    """What would be sent, and what covers it. It changes nothing; the verdict holds while the caller holds the row and
    the head of its owner's audit chain, and is a forecast for who holds neither.

    Raises:
        Tampered: row or decision were changed behind our back.
        RightLost: agent, grant, connection, credential or decider are no longer what they were, or it is too late; or
            the check itself broke (`UNCHECKED`).
    """
    try:
        form = check_row(approval)
        check_seal(approval)
        check_evidence(approval)
        check_asked(approval)
        check_decided(approval)
        check_not_ended(approval)
        check_repeat(approval)
        coverage = current_coverage(approval=approval, form=form, now=now)
        check_demand(approval, coverage)
    except (Tampered, RightLost, DatabaseError):
        raise
    except Exception:
        logger.exception("approval %s could not be checked", approval.pk)
        raise RightLost(UNCHECKED, "The call could not be checked.") from None
    return form, coverage


def is_in_order(approval_id: UUID, *, now: datetime) -> bool:
    """Whether `claim` would let the call begin, by what is read now without a lock. It changes nothing.

    For what is done with the credential before the claim: nothing is, for a row that the claim is going to refuse.
    """
    approval = ApprovalRequest.objects.unclaimed().filter(pk=approval_id).first()
    try:
        if approval is not None:
            checked(approval, now=now)
    except (Tampered, RightLost):
        return False
    return approval is not None
