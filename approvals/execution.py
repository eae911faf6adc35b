"""Making the calls that were approved: each once."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from approvals import runs
from approvals.binding import Tampered
from approvals.checks import is_in_order
from approvals.concurrency import in_worker
from approvals.envelope import Answer
from approvals.rights import RightLost
from approvals.runs import Claim, Waiting
from approvals.sending import CannotSend, send
from crash_points import Point, crash_point
from notifications.sweeping import going_on
from platforms.client import PlatformUnreachable
from platforms.held_access import HeldAccess, hold_access, renewed_connection
from platforms.renewals import NoAccess
from platforms.traffic import PlatformBlocked, Turn, turn
from platforms.usage import note_use
from platforms.written import until_written

logger = logging.getLogger(__name__)

MAYBE_SENT = (
    "outcome unknown: {error} The call may have reached the platform. It is not sent again by itself; check there."
)


def execute(*, approval_id: UUID, now: datetime) -> None:
    """Run an approved call, once: get an access token if it takes one, and the platform's turn; claim, send, record.

    Does nothing for a row that is not to be run. A row whose platform cannot be called now, whose token URL is away, or
    whose owner has all the threads that it may have, is left as it is for a later sweep: it holds no thread while it
    waits. Token and place are taken before the claim, so that a call that gets none was never begun; a probe of an open
    circuit is claimed and sent like any other call, once.
    """
    crash_point(Point.BEFORE_CLAIM, approval_id)
    waiting = runs.waiting(approval_id)
    if waiting is None:
        return
    with in_worker(waiting.owner_id) as has_thread:
        if has_thread:
            _prepare(approval_id, waiting, now=now)


def _prepare(approval_id: UUID, waiting: Waiting, *, now: datetime) -> None:
    connection = renewed_connection(owner_id=waiting.owner_id, connection_id=waiting.connection_id)
    if connection is None or not is_in_order(approval_id, now=now):  # nothing to get, or the claim refuses it
        _take_turn(approval_id, waiting, None, now=now)
        return
    began = time.monotonic()
    try:
        held = hold_access(connection, timeout=settings.APPROVED_TIMEOUT / 2)
    except NoAccess as error:
        runs.turn_away(approval_id=approval_id, why=str(error), reason=error.reason, now=_later(now, began))
        return
    _take_turn(approval_id, waiting, held, now=_later(now, began))


def _later(now: datetime, began: float) -> datetime:
    """The time by now: a lease that was reckoned from before the token URL was waited for would end too early."""
    return now + timedelta(seconds=time.monotonic() - began)


def _take_turn(approval_id: UUID, waiting: Waiting, held: HeldAccess | None, *, now: datetime) -> None:
    owner_id, platform = waiting.owner_id, waiting.platform
    try:
        with turn(owner_id=owner_id, platform=platform, timeout=settings.APPROVED_TIMEOUT, now=now) as place:
            write = _run(approval_id, place, held, now=now)
            if write is not None:  # before the place is given back, which takes a network
                write()
    except PlatformBlocked as blocked:
        runs.turn_away(approval_id=approval_id, why=str(blocked), reason=blocked.code, now=now)
        return
    if write is not None:
        crash_point(Point.AFTER_COMMIT, approval_id)


def _run(approval_id: UUID, place: Turn, held: HeldAccess | None, *, now: datetime) -> Callable[[], None] | None:
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
    return _outcome_of(claim, place, held, held_up=time.monotonic() > deadline)


def _outcome_of(claim: Claim, place: Turn, held: HeldAccess | None, *, held_up: bool) -> Callable[[], None]:
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
            held=held,
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

    return partial(_finish, claim, answer)


def _finish(claim: Claim, answer: Answer) -> None:
    approval_id = claim.approval.pk
    _end(partial(runs.finish, approval_id=approval_id, answer=answer))
    with going_on(logger, f"noting the use of a connection by approval {approval_id}"):
        note_use(connection_id=claim.coverage.connection_id, upstream_status=answer.status, now=timezone.now())


def _fail(approval_id: UUID, error: str, reason: str) -> None:
    _end(partial(runs.fail, approval_id=approval_id, error=error, reason=reason))


def _lose(approval_id: UUID, error: str, reason: str) -> None:
    _end(partial(runs.lose, approval_id=approval_id, error=error, reason=reason))


def _end(write: Callable[..., None]) -> None:
    """Each does nothing for a row that has this outcome, so a second try needs no look at the first."""
    until_written(lambda: write(now=timezone.now()), patience=settings.LEASE_MARGIN)
