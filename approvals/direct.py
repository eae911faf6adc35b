"""Calls that wait for nobody: forwarded with the stored credential, or relayed with the agent's own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from agents.authentication import Caller
from approvals.binding import Form
from approvals.call_log import CallLog
from approvals.concurrency import at_platform, under_way
from approvals.idempotency import KeyClaim
from approvals.sending import send, send_with
from audit.events import JSON, Event
from notifications.sweeping import going_on
from platforms.client import PlatformResponse
from platforms.coverage import Coverage
from platforms.credentials import Auth
from platforms.usage import note_use

logger = logging.getLogger(__name__)


class RightsMoved(Exception):
    """What the call rests on has changed while it waited for its place: it has to be looked at anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedCall:
    """A call that goes out with the agent's own credential. `scope` is the agent's word for it, for the record."""

    platform: str
    scope: str
    method: str
    endpoint: str
    url: str
    auth: Auth
    content_type: str
    is_mcp: bool
    body: str | None


def forward(
    *,
    caller: Caller,
    form: Form,
    read_again: Callable[[], tuple[Form, Coverage]],
    request_id: UUID,
    now: datetime,
    claim: KeyClaim | None = None,
) -> tuple[PlatformResponse, dict[str, JSON]]:
    """Make a call that needs nobody's approval; returns the answer and its `_meta`.

    Under the lock in which the intent is recorded, `read_again` has to bring the same form: it is sent under the grant
    and with the connection of that moment.

    Intent and outcome are both on record, each in a transaction of its own: no network inside one. Under a `claim`
    they are on the row of the agent's Idempotency-Key too, in the same transactions.

    Raises:
        RightsMoved: the call would be another one by now, or under another policy; nothing was sent.
        KeyRefused: the key is another request's by now; nothing was sent.
        ApiError: 429, too many calls are under way; 503, the platform's circuit is open. Nothing was sent.
        PlatformUnreachable: no answer came.
        CannotSend: it was not sent.
    """

    def same() -> Coverage:
        current, coverage = read_again()
        if current != form:
            raise RightsMoved
        return coverage

    log = CallLog(
        caller=caller,
        request_id=request_id,
        platform=form.platform,
        scope=form.scope,
        method=form.method,
        endpoint=form.endpoint,
        claim=claim,
    )
    with (
        under_way(caller, request_id=request_id, now=now),
        at_platform(caller, platform=form.platform, request_id=request_id, now=now) as place,
        log.failures(),
    ):
        coverage = log.begin(same, now=now, connection_id=form.connection_id)
        response = place.answered(send(form, coverage, timeout=settings.DIRECT_TIMEOUT, fresh=claim is not None))
        answer_meta = log.end(Event.ACTION_ALLOWED, response, disclosure=coverage.disclosure)
    with going_on(logger, f"noting the use of a connection by request {request_id}"):
        note_use(connection_id=coverage.connection_id, upstream_status=response.status, now=timezone.now())
    return response, answer_meta


def relay(
    *,
    caller: Caller,
    call: ObservedCall,
    read_again: Callable[[], ObservedCall],
    credential: str,
    request_id: UUID,
    now: datetime,
) -> tuple[PlatformResponse, dict[str, JSON]]:
    """Make a call with a credential that the agent has sent along; on record like `forward`, and raises alike."""

    def same() -> None:
        if read_again() != call:
            raise RightsMoved

    log = CallLog(
        caller=caller,
        request_id=request_id,
        platform=call.platform,
        scope=call.scope,
        method=call.method,
        endpoint=call.endpoint,
    )
    with (
        under_way(caller, request_id=request_id, now=now),
        at_platform(caller, platform=call.platform, request_id=request_id, now=now) as place,
        log.failures(),
    ):
        log.begin(same, now=now, mode="observe")
        response = send_with(
            call.auth,
            credential,
            method=call.method,
            url=call.url,
            body=call.body,
            content_type=call.content_type,
            is_mcp=call.is_mcp,
            timeout=settings.DIRECT_TIMEOUT,
        )
        place.answered(response)
        answer_meta = log.end(Event.ACTION_OBSERVED, response)
    return response, answer_meta
