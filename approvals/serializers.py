"""The agent API's inputs and outputs, as wire-contract shapes."""

import re
from typing import Any, TypeVar

from rest_framework import serializers

from agents.errors import ApiError
from agents.fields import Text
from approvals.actions import Action
from approvals.models import ApprovalRequest, Decision
from approvals.observe import Observation
from approvals.outcomes import error_for_agent
from approvals.pending import Left

_T = TypeVar("_T")
MAX_REASON = 500
MAX_KEY = 255
# A String of RFC 9651, as the draft wants it, or the same characters without quotes, as most clients send them.
_QUOTED_KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_BARE_KEY = re.compile(r"[!#-+\--:<-\[\]-~]+")  # no quote, comma, semicolon or backslash
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class CallInput(serializers.Serializer[_T]):
    """What calls have in common."""

    platform = Text(max_length=63, help_text="Id of the platform")
    endpoint = Text(trim_whitespace=False, max_length=8192, help_text="Path on the platform's API, with its query")
    method = serializers.ChoiceField(METHODS, default="GET", help_text="In any case")

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError({"non_field_errors": ["The body must be a JSON object."]})
        if isinstance(data.get("method"), str):
            data = data | {"method": data["method"].upper()}
        return super().to_internal_value(data)


def _json_body(data: Any, name: str) -> str | None:
    """The text to send: key order and numbers are the agent's, as the approver reads them. Absent is not null."""
    return data.source_of(name) if name in data else None


def read_idempotency_key(header: str | None) -> str:
    """The key in an `Idempotency-Key` header, "" without one.

    Raises:
        ApiError: 400, it is no key.
    """
    if header is None:
        return ""
    quoted = _QUOTED_KEY.fullmatch(header.strip())
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else header.strip()
    if not (quoted or _BARE_KEY.fullmatch(key)) or len(key) > MAX_KEY:
        raise ApiError(
            400,
            f"An Idempotency-Key is 1 to {MAX_KEY} visible ASCII characters, in double quotes or without any.",
            code="invalid_idempotency_key",
        )
    return key


class ActionInput(CallInput[Action]):
    """`POST /v1/actions`"""

    scope = Text(max_length=128, help_text="The granted scope that covers the call")
    data = serializers.JSONField(  # type: ignore[assignment]  # a field called as the property it does not replace
        required=False,
        allow_null=True,
        help_text="Sent as the body, JSON or the form that the platform wants; absent sends none",
    )
    connection_id = serializers.UUIDField(
        required=False, allow_null=True, help_text="One of the platform's connections; else the default is taken"
    )
    reason = Text(required=False, allow_null=True, allow_blank=True, help_text="Shown to the approver; cut at 500")

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("reason"), str):
            # The agent's own words: one line of plain text, whatever it was.
            words = "".join(character if character.isprintable() else " " for character in data["reason"])
            data = data | {"reason": " ".join(words.split())[:MAX_REASON]}
        return super().to_internal_value(data)

    @classmethod
    def read(cls, data: Any) -> Action:
        """The input as what `approvals.services.submit_action` takes. Raises ValidationError."""
        values = _validated(cls(data=data))
        return Action(
            platform=values["platform"],
            scope=values["scope"],
            method=values["method"],
            endpoint=values["endpoint"],
            body=_json_body(data, "data"),
            connection_id=values.get("connection_id"),
            reason=values.get("reason") or "",
        )


class ObservationInput(CallInput[Observation]):
    """`POST /v1/observe/actions`"""

    action = Text(
        max_length=128, required=False, allow_null=True, allow_blank=True, help_text="The agent's name for it"
    )
    body = serializers.JSONField(
        required=False,
        allow_null=True,
        help_text="Sent as the body, JSON or the form that the platform wants; absent sends none",
    )

    @classmethod
    def read(cls, data: Any, *, credential: str) -> Observation:
        """The input as what `approvals.observe.observe_action` takes. Raises ValidationError."""
        values = _validated(cls(data=data))
        if not credential:
            raise serializers.ValidationError({"X-AV-Observe-Credential": ["This header is required."]})
        return Observation(
            platform=values["platform"],
            scope=values.get("action") or "",
            method=values["method"],
            endpoint=values["endpoint"],
            body=_json_body(data, "body"),
            credential=credential,
        )


def _validated(serializer: serializers.Serializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


class ActionOutput(serializers.Serializer[None]):
    """200: the platform's answer, byte for byte, and what we say about it."""

    data = serializers.JSONField(  # type: ignore[assignment]  # as above
        allow_null=True, help_text="The platform's body; null if it was empty, a string if it was not JSON"
    )
    _meta = serializers.DictField(
        help_text="audit_id, correlation_id, upstream_status, timestamp; connection if one was chosen among several"
    )


class ErrorOutput(serializers.Serializer[None]):
    """The envelope of every refusal."""

    error = serializers.CharField()
    reason = serializers.CharField(required=False)
    code = serializers.CharField(required=False)
    correlation_id = serializers.UUIDField()


class QueuedOutput(serializers.Serializer[ApprovalRequest]):
    """202: the call waits for a person."""

    approval_id = serializers.UUIDField(source="pk")
    status = serializers.CharField(default="pending_approval")
    message = serializers.CharField(default="Owner approval required")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class ResultOutput(serializers.Serializer[None]):
    """The platform's answer to an approved call."""

    status = serializers.IntegerField(help_text="The platform's HTTP status")
    data = serializers.JSONField(  # type: ignore[assignment]  # as above
        help_text="{data, _meta} for a 2xx, else the platform's body"
    )


class ApprovalOutput(serializers.Serializer[ApprovalRequest]):
    """`GET /v1/approvals/{id}`"""

    approval_id = serializers.UUIDField()
    status = serializers.ChoiceField(Decision.choices)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    executed_at = serializers.DateTimeField(allow_null=True)
    execution_error = serializers.CharField(required=False, help_text="Why there is no result; or why it was denied")
    result = ResultOutput(required=False)


class WaitingOutput(serializers.Serializer[ApprovalRequest]):
    approval_id = serializers.UUIDField(source="pk")
    platform_id = serializers.CharField(source="platform")
    scope = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class EndedOutput(serializers.Serializer[ApprovalRequest]):
    """What there is nothing to say about is left out, never null."""

    approval_id = serializers.UUIDField(source="pk")
    platform_id = serializers.CharField(source="platform")
    scope = serializers.CharField()
    status = serializers.ChoiceField(["approved", "denied", "expired"])
    executed_at = serializers.DateTimeField(required=False)
    result_summary = serializers.CharField(required=False)
    execution_error = serializers.CharField(required=False, help_text="Why there is no result; or why it was denied")


class PendingActionsOutput(serializers.Serializer[None]):
    """`GET /v1/agents/me/pending-actions`"""

    pending = WaitingOutput(many=True)
    recently_completed = EndedOutput(many=True)


def pending_actions(left: Left) -> dict[str, Any]:
    return {
        "pending": [WaitingOutput(approval).data for approval in left.waiting],
        "recently_completed": [_ended(approval) for approval in left.ended],
    }


def _ended(approval: ApprovalRequest) -> dict[str, str]:
    status = Decision.EXPIRED if approval.decision == Decision.PENDING else approval.decision
    body = {
        "approval_id": str(approval.pk),
        "platform_id": approval.platform,
        "scope": approval.scope,
        "status": str(status),
    }
    if approval.executed_at:
        body["executed_at"] = approval.executed_at.isoformat()
    if approval.result_status:
        body["result_summary"] = f"The platform answered {approval.result_status}."
    elif status == Decision.APPROVED and not approval.executed_at:
        body["result_summary"] = "Approved; the call is being made."
    if error := error_for_agent(approval):
        body["execution_error"] = error
    return body
