"""Making the calls: straight through, or once approved. The only place where a credential is in clear."""

import logging
import time
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.authentication import Caller
from approvals import runs
from approvals.binding import Form, Tampered
from approvals.envelope import meta
from approvals.rights import RightLost
from audit.events import JSON, Event, Result
from audit.records import record
from platforms import client
from platforms.client import PlatformResponse, PlatformUnreachable
from platforms.coverage import Coverage
from platforms.credentials import apply
from platforms.usage import note_use
from platforms.vault import VaultError

logger = logging.getLogger(__name__)


class CannotSend(Exception):
    """The call could not be put together; nothing has left. The text is one sentence without secrets."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


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
        response = _send(
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


def forward(
    *, caller: Caller, form: Form, coverage: Coverage, request_id: UUID, now: datetime
) -> tuple[PlatformResponse, dict[str, JSON]]:
    """Make a call that needs nobody's approval; returns the answer and its `_meta`.

    Intent and outcome are both on record, each in a transaction of its own: no network inside one.

    Raises:
        PlatformUnreachable: no answer came.
        CannotSend: it was not sent.
    """

    def audit(event: Event, result: Result, *, at: datetime, reason: str = "", **metadata: JSON) -> UUID:
        with transaction.atomic(durable=True):
            return record(
                event=event,
                result=result,
                owner_id=caller.owner_id,
                actor=caller.actor,
                now=at,
                request_id=request_id,
                agent_id=caller.agent_id,
                agent_name=caller.agent_name,
                platform=form.platform,
                action=form.scope,
                session_id=caller.session_id,
                reason=reason,
                metadata={"method": form.method, "endpoint": form.endpoint, **metadata},
            )

    audit(Event.ACTION_SENDING, Result.INFO, at=now, connection_id=form.connection_id)
    try:
        response = _send(form, coverage, timeout=settings.DIRECT_TIMEOUT)
    except PlatformUnreachable as error:
        audit(Event.ACTION_FAILED, Result.ERROR, at=timezone.now(), reason=error.code)
        raise
    except CannotSend as error:
        audit(Event.ACTION_FAILED, Result.ERROR, at=timezone.now(), reason=error.reason)
        raise
    done = timezone.now()
    result = Result.ALLOWED if response.status < 400 else Result.ERROR
    audit_id = audit(Event.ACTION_ALLOWED, result, at=done, response_status=response.status)
    note_use(connection_id=coverage.connection_id, upstream_status=response.status, now=done)
    return response, meta(audit_id=audit_id, correlation_id=request_id, upstream_status=response.status, now=done)


def _send(form: Form, coverage: Coverage, *, timeout: float, idempotency_key: str = "") -> PlatformResponse:
    headers = [("Accept", "application/json")]
    if form.body is not None:
        headers.append(("Content-Type", form.content_type))
    if idempotency_key:
        headers.append(("Idempotency-Key", idempotency_key))
    try:
        url, headers = apply(coverage.auth, coverage.credential(), url=form.url, headers=headers)
        return client.send(
            method=form.method,
            url=url,
            headers=headers,
            body=None if form.body is None else form.body.encode(),
            timeout=timeout,
            max_response_bytes=settings.MAX_RESPONSE_BYTES,
            fresh=bool(idempotency_key),  # a connection of its own: nothing below us ever sends it a second time
        )
    except VaultError as error:
        raise CannotSend("credential_unavailable", str(error)) from error
    except ValueError as error:  # what `apply` and `send` raise before anything leaves
        raise CannotSend("request_refused", str(error)) from error
