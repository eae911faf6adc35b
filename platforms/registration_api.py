"""The agent API for programs without an identity: register, wait, claim the key. The token is all they show."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.errors import ApiError
from agents.http import client_address, stamped
from agents.permissions import AnonymousView
from agents.streams import event_stream
from agents.throttling import check_anonymous
from platforms.asks import Registration, RegistrationStatus
from platforms.permissions import permissions_of
from platforms.registration_serializers import KeyOutput, RegisterInput, RegisterOutput, RegistrationOutput
from platforms.registrations import (
    PENDING_LIFETIME,
    SHOWN_AFTER_CLAIM,
    AgentNotActive,
    Gone,
    NotApproved,
    TooManyPending,
    UnknownToken,
    claim_key,
    outcome,
    register,
)

_UNKNOWN = "There is no such registration."
_GONE = "This registration is over: register again."


class RegisterView(AnonymousView):
    """`POST /v1/register`: ask an owner to let this program in. The answer is the same whether or not the id exists."""

    @extend_schema(request=RegisterInput, responses={201: RegisterOutput})
    def post(self, request: Request) -> Response:
        check_anonymous(request, "register")
        data = RegisterInput(data=request.data)
        data.is_valid(raise_exception=True)
        stamp = stamped(request)
        applicant = data.applicant(client_address(stamp))
        try:
            registration, token = register(applicant=applicant, request_id=stamp.request_id, now=stamp.now)
        except TooManyPending as error:
            raise ApiError(
                429,
                "Too many programs wait for this owner: try again later.",
                code="too_many_pending",
                headers={"Retry-After": str(error.retry_after)},
            ) from error
        body = {
            "registration_token": token,
            "token": token,
            "poll_url": f"{settings.PUBLIC_URL}/v1/register/status/{token}",
            "client_id": str(registration.pk),
            "expires_in": int(PENDING_LIFETIME.total_seconds()),
        }
        # What was asked for, not what was kept: that would tell whether the owner exists.
        wanted = [
            f"{entry['platform']}:{scope}" for entry in data.validated_data["requested"] for scope in entry["scopes"]
        ]
        if wanted:
            body["scope"] = " ".join(wanted)
        return Response(body, status=201, headers={"Cache-Control": "no-store"})


class RegistrationStatusView(AnonymousView):
    """`GET /v1/register/status/{token}`: 410 once nobody has decided in time, or the agent was stopped."""

    @extend_schema(responses={200: RegistrationOutput})
    def get(self, request: Request, token: str) -> Response:
        check_anonymous(request, "register-status")
        now = stamped(request).now
        try:
            registration = outcome(token=token, now=now)
        except UnknownToken as error:
            raise ApiError(404, _UNKNOWN, code="not_found") from error
        except Gone as error:
            raise ApiError(410, _GONE, code="registration_over") from error
        return Response(_body(request, registration, token), headers={"Cache-Control": "no-store"})


class RegistrationStreamView(AnonymousView):
    """`GET /v1/register/stream/{token}`: the outcome as a server-sent event, if there is one.

    It ends at once: anybody can get a token, so nobody may hold a thread with it. The client polls when it ends.
    """

    @extend_schema(responses={(200, "text/event-stream"): OpenApiTypes.STR})
    def get(self, request: Request, token: str) -> HttpResponse:
        check_anonymous(request, "register-stream")
        try:
            registration = outcome(token=token, now=stamped(request).now)
        except UnknownToken as error:
            raise ApiError(404, _UNKNOWN, code="not_found") from error
        except Gone:
            return event_stream({"status": "expired"})
        if registration.status == RegistrationStatus.PENDING:
            return event_stream(None)
        return event_stream(_body(request, registration, token))


class ClaimKeyView(AnonymousView):
    """`GET /v1/register/claim-key/{token}`: the private key, once. The one GET that changes something: clients send it.

    A HEAD must not use the key up.
    """

    http_method_names = ("get", "options")

    @extend_schema(responses={200: KeyOutput})
    def get(self, request: Request, token: str) -> Response:
        check_anonymous(request, "register-claim")
        stamp = stamped(request)
        try:
            private_key = claim_key(token=token, request_id=stamp.request_id, now=stamp.now)
        except UnknownToken as error:
            raise ApiError(404, _UNKNOWN, code="not_found") from error
        except NotApproved as error:
            raise ApiError(409, "Nobody has approved this registration yet.", code="not_approved") from error
        except AgentNotActive as error:
            raise ApiError(403, "Permission denied", reason=f"agent_{error.status}") from error
        except Gone as error:
            raise ApiError(
                410, "There is no key to claim here any more: ask the owner for an invite.", code="key_gone"
            ) from error
        return Response({"private_key": private_key}, headers={"Cache-Control": "no-store"})


def _body(request: Request, registration: Registration, token: str) -> dict[str, Any]:
    agent = registration.agent
    if agent is None:
        status = "rejected" if registration.status == RegistrationStatus.REJECTED else "pending_approval"
        return {"status": status}
    ids = {"agent_id": agent.pk, "owner_id": str(agent.owner_id)}
    config: dict[str, Any] = {
        "command": "npx",
        "args": ["-y", "@agentvalet/mcp-server"],
        "env": {"AGENT_ID": agent.pk, "OWNER_ID": ids["owner_id"], "PROXY_URL": settings.PUBLIC_URL},
    }
    if registration.claimed_at is None:
        config["claim_key_url"] = f"{settings.PUBLIC_URL}/v1/register/claim-key/{token}"
    body: dict[str, Any] = {"status": "approved", **ids, "mcp_config": config}
    now = stamped(request).now
    if registration.claimed_at is None or now < registration.claimed_at + SHOWN_AFTER_CLAIM:
        body["granted_platforms"] = permissions_of(agent_id=agent.pk, now=now).platforms
    return body
