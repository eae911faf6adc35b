"""The agent API's ways to speak to its owner: reports about itself, and the wish to be uninstalled."""

import json
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.authentication import caller_of
from agents.errors import ApiError
from agents.fields import Text
from agents.http import stamped
from agents.lifecycle import NotPossible
from agents.limits import KeptRequestsPerMinute
from agents.models import AgentStatus
from agents.onetime import hash_of
from agents.permissions import AgentMayAct, AnonymousView
from agents.refusals import on_record, read_body
from agents.streams import event_stream
from agents.throttling import check_rate
from notifications import uninstalls
from notifications.models import Severity, UninstallStatus
from notifications.reports import Diagnosis, report

MAX_MESSAGE_BYTES = 4096
CONTEXT_BYTES = 16 * 1024  # it has to be smaller
PER_MINUTE = 60  # looks at one uninstall request


class DiagnosticsInput(serializers.Serializer[Diagnosis]):
    """`POST /v1/agents/self/diagnostics`"""

    severity = serializers.ChoiceField(Severity.choices)
    message = Text(trim_whitespace=False, help_text=f"At most {MAX_MESSAGE_BYTES} bytes of UTF-8")
    code = Text(required=False, allow_null=True, allow_blank=True, max_length=128)
    platform = Text(required=False, allow_null=True, allow_blank=True, max_length=200)
    endpoint = Text(required=False, allow_null=True, allow_blank=True, max_length=8192)
    correlation_id = serializers.UUIDField(required=False, allow_null=True)
    context = serializers.DictField(  # type: ignore[assignment]  # a field called as the property it does not replace
        required=False, allow_null=True, help_text="An object, less than 16 KiB as JSON"
    )

    def validate_message(self, value: str) -> str:
        if len(value.encode()) > MAX_MESSAGE_BYTES:
            raise ValidationError(f"This is longer than {MAX_MESSAGE_BYTES} bytes.")
        return value

    def validate_context(self, value: dict[str, Any] | None) -> str:
        text = "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode()) >= CONTEXT_BYTES:
            raise ValidationError(f"This is not smaller than {CONTEXT_BYTES} bytes.")
        return text

    def to_diagnosis(self) -> Diagnosis:
        values = self.validated_data
        return Diagnosis(
            severity=Severity(values["severity"]),
            message=values["message"],
            code=values.get("code") or "",
            platform=values.get("platform") or "",
            endpoint=values.get("endpoint") or "",
            correlation_id=values.get("correlation_id"),
            context=values.get("context") or "",
        )


class DiagnosticsOutput(serializers.Serializer[None]):
    id = serializers.UUIDField()
    report_id = serializers.UUIDField(help_text="The same")
    received_at = serializers.DateTimeField()
    ok = serializers.BooleanField()


class DiagnosticsView(APIView):
    """`POST /v1/agents/self/diagnostics`: the agent tells its owner how it is doing."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (KeptRequestsPerMinute,)

    @extend_schema(request=DiagnosticsInput, responses={200: DiagnosticsOutput})
    def post(self, request: Request) -> Response:
        caller, stamp = caller_of(request), stamped(request)
        data = read_body(request, DiagnosticsInput)
        made = report(caller=caller, diagnosis=data.to_diagnosis(), request_id=stamp.request_id, now=stamp.now)
        return Response(
            {"id": str(made.pk), "report_id": str(made.pk), "received_at": made.received_at.isoformat(), "ok": True}
        )


class UninstallInput(serializers.Serializer[None]):
    """`POST /v1/revoke-request`"""

    reason = Text(required=False, allow_null=True, allow_blank=True, help_text="Shown to the owner; cut at 500")


class UninstallOutput(serializers.Serializer[None]):
    revocation_token = serializers.CharField(help_text="For GET /v1/revoke-request/stream/{token}")


class RevokeRequestView(APIView):
    """`POST /v1/revoke-request`: the agent asks to be revoked. 409 where that has happened: clients clean up then."""

    permission_classes = (IsAuthenticated,)
    throttle_classes = (KeptRequestsPerMinute,)

    @extend_schema(request=UninstallInput, responses={200: UninstallOutput})
    def post(self, request: Request) -> Response:
        caller, stamp = caller_of(request), stamped(request)
        if caller.status == AgentStatus.REVOKED:
            raise on_record(request, ApiError(409, "The agent is revoked already.", code="agent_revoked"))
        AgentMayAct().has_permission(request, self)
        data = read_body(request, UninstallInput)
        words = "".join(c if c.isprintable() else " " for c in data.validated_data.get("reason") or "")
        try:
            token = uninstalls.ask(
                caller=caller, reason=" ".join(words.split())[:500], request_id=stamp.request_id, now=stamp.now
            )
        except uninstalls.AlreadyRevoked as error:  # a moment ago
            raise on_record(request, ApiError(409, "The agent is revoked already.", code="agent_revoked")) from error
        except NotPossible as error:
            raise on_record(request, ApiError(403, str(error), reason="delegation_depth_exceeded")) from error
        return Response({"revocation_token": token})


class RevokeStreamView(AnonymousView):
    """`GET /v1/revoke-request/stream/{token}`: an event if it is decided; it ends at once, and clients come again."""

    @extend_schema(responses={(200, "text/event-stream"): OpenApiTypes.STR})
    def get(self, request: Request, token: str) -> HttpResponse:
        now = stamped(request).now
        check_rate(key=f"uninstall:{hash_of(token).hex()}", limit=PER_MINUTE, per_seconds=60, now=now)
        status = uninstalls.status_of(token=token, now=now)
        if status is None:
            raise ApiError(404, "There is no such request.", code="not_found")
        return event_stream(None if status == UninstallStatus.PENDING else {"status": status})
