"""Making the calls that were approved: each once."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from approvals import runs
from approvals.binding import Tampered
from approvals.envelope import Answer
from approvals.rights import RightLost
from approvals.runs import Claim
from approvals.sending import CannotSend, send
from crash_points import Point, crash_point
from platforms.client import PlatformUnreachable
from platforms.traffic import PlatformBlocked, Turn, turn
from platforms.usage import note_use

logger = logging.getLogger(__name__)

MAYBE_SENT = (
    "outcome unknown: {error} The call may have reached the platform. It is not sent again by itself; check there."
)
_RETRY_EVERY = 0.5  # seconds between tries to write an outcome down


def execute(*, approval_id: UUID, now: datetime) -> None:
    """Run an approved call, once: wait for the platform's turn, claim, send, record.

    Does nothing for a row that is not to be run. A row whose platform cannot be called now is left as it is, for the
    next sweep to try: it holds no thread while it waits. The place is taken before the claim, so that a call that gets
    none was never begun; a probe of an open circuit is claimed and sent like any other call, once.
    """
    crash_point(Point.BEFORE_CLAIM, approval_id)
    waiting = runs.waiting(approval_id)
    if waiting is None:
        return
    owner_id, platform = waiting
    try:
        with turn(owner_id=owner_id, platform=platform, timeout=settings.APPROVED_TIMEOUT, now=now) as place:
            write = _run(approval_id, place, now=now)
    except PlatformBlocked as blocked:
        runs.turn_away(approval_id=approval_id, why=str(blocked), reason=blocked.code, now=now)
        return
    if write is not None:
        _until_written(write)
        crash_point(Point.AFTER_COMMIT, approval_id)


def _run(approval_id: UUID, place: Turn, *, now: datetime) -> Callable[[], None] | None:
    """Claim and send; what comes back writes the outcome down."""
    deadline = time.monotonic() + settings.LEASE_MARGIN
    try:
        claim = runs.claim(approval_id=approval_id, now=now)
    except runs.NotRunnable:
        return None
    except (Tampered, RightLost) as refusal:
        logger.warning("approval %s was not sent: %s", approval_id, refusal)
        return None
    crash_point(Point.AFTER_CLAIM, approval_id)
    return _outcome_of(claim, place, held_up=time.monotonic() > deadline)


def _outcome_of(claim: Claim, place: Turn, *, held_up: bool) -> Callable[[], None]:
    """Make the call; what comes back writes its outcome down."""
    approval_id = claim.approval.pk
    if held_up:  # this process was stopped for so long that the row may count as lost by now
        return partial(_fail, approval_id, "The worker was held up. Nothing was sent.", "late")
    try:
        response = send(
            claim.form,
            claim.coverage,
            timeout=settings.APPROVED_TIMEOUT,
            idempotency_key=claim.approval.idempotency_key,
        )
    except CannotSend as error:
        return partial(_fail, approval_id, f"{error} Nothing was sent.", error.reason)
    except PlatformUnreachable as error:
        place.failed(error)
        if error.may_have_been_sent:
            return partial(_lose, approval_id, MAYBE_SENT.format(error=error), error.code)
        return partial(_fail, approval_id, f"{error} Nothing was sent.", error.code)
    crash_point(Point.AFTER_RESPONSE, approval_id)
    place.answered(response)
    answer = Answer.of(response, claim.approval.disclosure)

    def finish() -> None:
        runs.finish(approval_id=approval_id, answer=answer, now=timezone.now())
        note_use(connection_id=claim.coverage.connection_id, upstream_status=answer.status, now=timezone.now())

    return finish


def _fail(approval_id: UUID, error: str, reason: str) -> None:
    runs.fail(approval_id=approval_id, error=error, reason=reason, now=timezone.now())


def _lose(approval_id: UUID, error: str, reason: str) -> None:
    runs.lose(approval_id=approval_id, error=error, reason=reason, now=timezone.now())


def _until_written(write: Callable[[], None]) -> None:
    """Write the outcome down, also across a restart of the database: nobody can get it a second time.

    Raises:
        OperationalError, InterfaceError: the database stayed away for longer than the lease; the row ends as unknown.
    """
    deadline = time.monotonic() + settings.LEASE_MARGIN
    while True:
        try:
            write()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            logger.warning("the database is away; the outcome of a call is kept until it is back")
            connection.close()
            time.sleep(_RETRY_EVERY)
        else:
            return
