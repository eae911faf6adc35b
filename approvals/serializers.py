"""The agent API's inputs and outputs, as wire-contract shapes."""

import json
from typing import Any
from uuid import UUID

from rest_framework import serializers

from approvals.models import ApprovalRequest, Decision
from approvals.services import Action

MAX_REASON = 500
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Text(serializers.CharField):
    """A JSON string and nothing else: no number is read as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be a string.")
        return super().to_internal_value(data)


class ActionInput(serializers.Serializer[Action]):
    """`POST /v1/actions`"""

    platform = Text(max_length=63)
    endpoint = Text(trim_whitespace=False, max_length=8192, help_text="Path on the platform's API, with its query")
    method = serializers.ChoiceField(METHODS, default="GET")
    scope = Text(max_length=128)
    data = serializers.JSONField(  # type: ignore[assignment]  # a field called as the property it does not replace
        required=False, allow_null=True, help_text="Sent as the JSON body; absent sends none"
    )
    connection_id = serializers.UUIDField(required=False, allow_null=True)
    reason = Text(required=False, allow_null=True, allow_blank=True, help_text="Shown to the approver; cut at 500")

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError({"non_field_errors": ["The body must be a JSON object."]})
        if isinstance(data.get("method"), str):
            data = data | {"method": data["method"].upper()}
        if isinstance(data.get("reason"), str):
            # The agent's own words: one line of plain text, whatever it was.
            words = "".join(character if character.isprintable() else " " for character in data["reason"])
            data = data | {"reason": " ".join(words.split())[:MAX_REASON]}
        return super().to_internal_value(data)

    def to_action(self) -> Action:
        """The validated input as what `approvals.services.submit_action` takes."""
        values = self.validated_data
        body = None
        if "data" in values:  # the key order is the agent's: it is what the platform sees and the approver reads
            body = json.dumps(values["data"], ensure_ascii=False, separators=(",", ":"))
        connection_id: UUID | None = values.get("connection_id")
        return Action(
            platform=values["platform"],
            scope=values["scope"],
            method=values["method"],
            endpoint=values["endpoint"],
            body=body,
            connection_id=connection_id,
            reason=values.get("reason") or "",
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
