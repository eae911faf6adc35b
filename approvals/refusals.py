"""Turning a call away, on record: what was asked and why not, without any secret that it carried."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from agents.authentication import Caller, record_refusal
from approvals.idempotency import KeyRefused
from approvals.sending import CannotSend
from audit.events import JSON
from platforms.bodies import BodyRefused
from platforms.coverage import NotConnected, NotCovered
from platforms.endpoints import EndpointRefused
from platforms.leaks import SecretInRequest, refuse_secrets
from platforms.vault import KeyServiceError


class Asked(Protocol):
    """A call as an agent asks for it."""

    @property
    def platform(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def body(self) -> str | None: ...


class ApprovalRequired(Exception):
    """The call is one that a person has to approve, and this is not the way to ask for that."""

    def __init__(self, *, grant_id: int, scope: str) -> None:
        super().__init__(f"The scope {scope} covers this call and asks for approval: send it to /v1/actions.")
        self.grant_id = grant_id


class CredentialRefused(ValueError):
    """The agent's own credential cannot be carried; the message is one sentence without it."""


Refusal = EndpointRefused | BodyRefused | CredentialRefused | NotCovered | NotConnected | ApprovalRequired | KeyRefused


def note_refusal(
    *, caller: Caller, asked: Asked, refusal: Refusal, request_id: UUID, now: datetime, **metadata: JSON
) -> None:
    """Put on record that the call was turned away; `refuse_leak` has let it pass before."""
    match refusal:
        case NotCovered():
            reason = refusal.reason
        case NotConnected():
            reason = "no_credential"
        case ApprovalRequired():
            reason = "approval_required"
        case CredentialRefused():
            reason = "credential_refused"
        case EndpointRefused():
            reason = "endpoint_refused"
        case BodyRefused():
            reason = "body_refused"
        case KeyRefused():
            reason = refusal.code
    record_refusal(
        caller,
        request_id=request_id,
        reason=reason,
        now=now,
        platform=asked.platform,
        action=asked.scope,
        metadata={"method": asked.method, "endpoint": asked.endpoint, **metadata},
    )


def refuse_leak(*, caller: Caller, asked: Asked, reason: str, request_id: UUID, now: datetime) -> None:
    """Turn away a call that carries a secret, before any word of it gets on record.

    Raises:
        SecretInRequest: after it is on record; a field with a secret is not.
        CannotSend: what to look for is not known, as the service with the vault's key is away; on record without the
            agent's words.
    """
    texts = {
        "platform": asked.platform,
        "scope": asked.scope,
        "endpoint": asked.endpoint,
        "body": asked.body or "",
        "reason": reason,
    }
    try:
        refuse_secrets(owner_id=caller.owner_id, texts=texts)
    except SecretInRequest as leak:
        clean = {name: "" if name in leak.findings else text for name, text in texts.items()}
        record_refusal(
            caller,
            request_id=request_id,
            reason="denied_by_guardrail",
            now=now,
            platform=clean["platform"],
            action=clean["scope"],
            metadata={"method": asked.method, "endpoint": clean["endpoint"], "secrets": leak.findings},
        )
        raise
    except KeyServiceError as away:
        record_refusal(
            caller, request_id=request_id, reason="credential_unavailable", now=now, metadata={"method": asked.method}
        )
        raise CannotSend("credential_unavailable", str(away)) from away
