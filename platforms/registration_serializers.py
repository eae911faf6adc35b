"""The wire shapes of registrations, under the names clients know."""

# ruff: noqa: N815

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from rest_framework import serializers

from agents.fields import Text
from agents.lifecycle import NameRefused, readable_name
from audit.events import JSON
from platforms.models import SCOPE_NAME, SLUG
from platforms.registrations import Applicant
from platforms.serializers import MAX_ENTRIES, MAX_SCOPES, Id, Line, Object, PlatformOutput

MAX_REQUESTED = 100  # scopes of all entries: a person reads them, and anybody can send them
MAX_REQUESTED_BYTES = 8 * 1024  # of all entries as JSON


class RequestedInput(Object):
    """One entry of `requested_scopes`: an object, or "platform:scope"."""

    platformId = Text(max_length=63, validators=[SLUG])
    scopes = serializers.ListField(child=Text(max_length=128, validators=[SCOPE_NAME]), max_length=MAX_SCOPES)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str):
            platform, _, scope = data.partition(":")
            data = {"platformId": platform, "scopes": [scope] if scope else []}
        return super().to_internal_value(data)


class RegisterInput(Object):
    """`POST /v1/register`; the name is `agent_name` or `name`."""

    owner_id = Id()
    agent_name = Text(required=False, max_length=200)
    name = Text(required=False, max_length=200)
    agent_description = Line(cut_at=1000)
    requested_scopes = serializers.ListField(
        child=RequestedInput(), required=False, allow_null=True, max_length=MAX_ENTRIES
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        try:
            attrs["agent_name"] = readable_name(attrs.get("agent_name") or attrs.get("name") or "")
        except NameRefused as error:
            raise serializers.ValidationError({"agent_name": [str(error)]}) from error
        attrs["requested"] = _merged(attrs.get("requested_scopes") or [])
        if sum(len(entry["scopes"]) for entry in attrs["requested"]) > MAX_REQUESTED:
            raise serializers.ValidationError({"requested_scopes": [f"These are more than {MAX_REQUESTED} scopes."]})
        if len(json.dumps(attrs["requested"])) > MAX_REQUESTED_BYTES:
            raise serializers.ValidationError({"requested_scopes": [f"These are over {MAX_REQUESTED_BYTES} bytes."]})
        return attrs

    def applicant(self, address: str | None) -> Applicant:
        values = self.validated_data
        owner_id: UUID = values["owner_id"]
        return Applicant(
            owner_id=owner_id,
            name=values["agent_name"],
            description=values.get("agent_description") or "",
            requested=values["requested"],
            address=address,
        )


def _merged(entries: Iterable[dict[str, Any]]) -> list[dict[str, JSON]]:
    """Each platform once, with each of its scopes once."""
    requested: dict[str, dict[str, None]] = {}
    for entry in entries:
        requested.setdefault(entry["platformId"], {}).update(dict.fromkeys(entry["scopes"]))
    return [{"platform": platform, "scopes": list(scopes)} for platform, scopes in requested.items()]


class RegisterOutput(serializers.Serializer[None]):
    registration_token = serializers.CharField()
    token = serializers.CharField(help_text="The same")
    poll_url = serializers.URLField()
    client_id = serializers.CharField()
    scope = serializers.CharField(required=False, help_text="platform:scope, separated by spaces")
    expires_in = serializers.IntegerField(help_text="Seconds")


class RegistrationOutput(serializers.Serializer[None]):
    status = serializers.ChoiceField(["pending_approval", "approved", "rejected"])
    agent_id = serializers.CharField(required=False)
    owner_id = serializers.UUIDField(required=False)
    mcp_config = serializers.DictField(required=False)
    granted_platforms = PlatformOutput(many=True, required=False)


class KeyOutput(serializers.Serializer[None]):
    private_key = serializers.CharField(help_text="PKCS#8 PEM; this is the only time it is shown")
