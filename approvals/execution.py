"""Making the calls that were approved: each once."""

import logging
import time
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from approvals import runs
from approvals.binding import Tampered
from approvals.rights import RightLost
from approvals.sending import CannotSend, send
from platforms.client import PlatformUnreachable
from platforms.usage import note_use

logger = logging.getLogger(__name__)

MAYBE_SENT = "outcome unknown: {error} The call may have reached the platform and will not be sent again; check there."


def execute(*, approval_id: UUID, now: datetime) -> None:
    """Run an approved call, once: claim, send, record. Does nothing for a row that is not to be run."""
    deadline = time.monotonic() + runs.lease().total_seconds() - settings.APPROVED_TIMEOUT
    try:
        claim = runs.claim(approval_id=approval_id, now=now)
    except runs.NotRunnable:
        return
    except (Tampered, RightLost) as refusal:
        logger.warning("approval %s was not sent: %s", approval_id, refusal)
        return
    if time.monotonic() > deadline:  # this process was stopped for so long that the row may count as lost by now
        runs.fail(
            approval_id=approval_id,
            error="The worker was held up. Nothing was sent.",
            reason="late",
            now=timezone.now(),
        )
        return
    try:
        response = send(
            claim.form,
            claim.coverage,
            timeout=settings.APPROVED_TIMEOUT,
            idempotency_key=str(approval_id),
        )
    except CannotSend as error:
        runs.fail(approval_id=approval_id, error=f"{error} Nothing was sent.", reason=error.reason, now=timezone.now())
    except PlatformUnreachable as error:
        if error.may_have_been_sent:
            runs.lose(
                approval_id=approval_id, error=MAYBE_SENT.format(error=error), reason=error.code, now=timezone.now()
            )
        else:
            runs.fail(
                approval_id=approval_id, error=f"{error} Nothing was sent.", reason=error.code, now=timezone.now()
            )
    else:
        runs.finish(approval_id=approval_id, response=response, now=timezone.now())
        note_use(connection_id=claim.coverage.connection_id, upstream_status=response.status, now=timezone.now())
