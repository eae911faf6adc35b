"""The wire shapes of permissions, access requests and child agents, under the names clients know."""

# ruff: noqa: N815

from datetime import timedelta
from typing import Any
from uuid import UUID

from rest_framework import serializers

from agents.fields import Text
from platforms.children import Wish
from platforms.models import SCOPE_NAME, SLUG

MAX_SCOPES = 100  # in one entry
MAX_ENTRIES = 25


class Line(Text):
    """Words for people: one line of printable text, cut at `cut_at`. null and absent are the same as none."""

    def __init__(self, *, cut_at: int, **options: Any) -> None:
        self.cut_at = cut_at
        super().__init__(required=False, allow_null=True, allow_blank=True, default="", **options)

    def to_internal_value(self, data: Any) -> str:
        words = "".join(letter if letter.isprintable() else " " for letter in super().to_internal_value(data))
        return " ".join(words.split())[: self.cut_at]


class Whole(serializers.IntegerField):
    """A JSON number without a fraction: no text, no true."""

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            raise serializers.ValidationError("This must be a whole number.")
        return super().to_internal_value(data)


class Id(serializers.UUIDField):
    """A UUID as text: a number is none."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be a string.")
        return super().to_internal_value(data)


class Object(serializers.Serializer[None]):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError({"non_field_errors": ["This must be a JSON object."]})
        return super().to_internal_value(data)


# --- GET /v1/agent/permissions
class IdentityOutput(serializers.Serializer[None]):
    email = serializers.CharField(required=False)
    display_name = serializers.CharField(required=False)
    account_id = serializers.CharField(required=False)


class ConnectionOutput(serializers.Serializer[None]):
    connection_id = serializers.UUIDField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field called as an option it does not replace
    is_default = serializers.BooleanField(required=False)
    requireApproval = serializers.BooleanField(required=False, help_text="Every call on it waits for a person")
    scopes = serializers.ListField(child=serializers.CharField(), required=False, help_text="If not all of them")
    identity = IdentityOutput(required=False)
    hint = serializers.CharField(required=False)


class PlatformOutput(serializers.Serializer[None]):
    platformId = serializers.CharField()
    platformName = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    requireApproval = serializers.BooleanField(required=False, help_text="Every call waits for a person")
    approvalScopes = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="The scopes whose calls wait for a person"
    )
    connections = ConnectionOutput(
        many=True, required=False, help_text="If there are several, or one with an identity or a hint"
    )
    callStyle = serializers.ChoiceField(["graphql"], required=False)
    expiresInSeconds = serializers.IntegerField(required=False, help_text="Until the first of the grants ends")


class PermissionListOutput(serializers.Serializer[None]):
    platforms = PlatformOutput(many=True)
    version = serializers.CharField()


class PermissionsOutput(PermissionListOutput):
    data = PermissionListOutput()  # type: ignore[assignment]  # a field called as the property it does not replace


# --- POST /v1/authzen/access
class SubjectInput(Object):
    id = Text(max_length=128)


class ResourceInput(Object):
    id = Text(max_length=300, help_text="platform:scope; the first colon divides")

    def validate_id(self, value: str) -> str:
        platform, colon, scope = value.partition(":")
        if not (platform and colon and scope):
            raise serializers.ValidationError("This must be platform:scope.")
        return value


class EvaluationInput(Object):
    """`POST /v1/authzen/access`; whatever else an AuthZEN client sends is not looked at."""

    subject = SubjectInput()
    resource = ResourceInput()


class EvaluationContext(serializers.Serializer[None]):
    reason = serializers.CharField()
    require_approval = serializers.BooleanField(required=False, help_text="Absent where it depends on the connection")


class EvaluationOutput(serializers.Serializer[None]):
    decision = serializers.BooleanField()
    reason = serializers.CharField()
    context = EvaluationContext()  # type: ignore[assignment]  # as above


# --- /v1/access-request
class AccessInput(Object):
    """`POST /v1/access-request`"""

    platform = Text(max_length=63, validators=[SLUG])
    scope = Text(max_length=128, required=False, allow_null=True, allow_blank=True, validators=[SCOPE_NAME])
    reason = Line(cut_at=500, help_text="Shown to the owner; cut at 500")


class AccessOutput(serializers.Serializer[None]):
    request_token = serializers.CharField(required=False)
    status = serializers.ChoiceField(["pending", "approved", "denied"])


# --- POST /v1/agents/children
class WishInput(Object):
    platform = Text(max_length=63)
    scopes = serializers.ListField(child=Text(max_length=128), max_length=MAX_SCOPES)
    connection_id = Id(required=False, allow_null=True)


class ChildInput(Object):
    """`POST /v1/agents/children`"""

    ttl_seconds = Whole(min_value=60, max_value=3600, default=900)
    grants = serializers.ListField(child=WishInput(), max_length=MAX_ENTRIES)
    name = Text(max_length=200, required=False, allow_null=True)

    def wishes(self) -> list[Wish]:
        return [
            Wish(platform=grant["platform"], scopes=grant["scopes"], connection_id=grant.get("connection_id"))
            for grant in self.validated_data["grants"]
        ]

    def lifetime(self) -> timedelta:
        return timedelta(seconds=self.validated_data["ttl_seconds"])


class ChildGrantOutput(serializers.Serializer[None]):
    platform = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    connection_id = serializers.UUIDField(required=False)


class ChildOutput(serializers.Serializer[None]):
    child_agent_id = serializers.CharField()
    bearer_token = serializers.CharField()
    expires_at = serializers.DateTimeField()
    granted = ChildGrantOutput(many=True)
