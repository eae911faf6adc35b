"""The agent API about permissions: what there are, whether one would do, asking for one, passing some to a child."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.authentication import caller_of
from agents.errors import ApiError
from agents.http import stamped
from agents.lifecycle import NameRefused, NotPossible
from agents.limits import KeptRequestsPerMinute, RequestsPerMinute
from agents.permissions import AgentMayAct
from agents.refusals import on_record, read_body
from agents.tokens import SigningUnavailable
from audit.events import JSON
from platforms.access import ChildMayNotAsk, TooManyPending, ask
from platforms.asks import AccessRequest
from platforms.children import Child, ChildMayNotMint, NothingLeft, TooManyChildren, mint_child
from platforms.coverage import NotCovered, may_use
from platforms.leaks import SecretInRequest, refuse_secrets
from platforms.permissions import permissions_of
from platforms.serializers import (
    AccessInput,
    AccessOutput,
    ChildInput,
    ChildOutput,
    EvaluationInput,
    EvaluationOutput,
    PermissionsOutput,
)
from platforms.vault import KeyServiceError


class PermissionsView(APIView):
    """`GET /v1/agent/permissions`: what the agent may do now; cheap to ask again with If-None-Match."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (RequestsPerMinute,)

    @extend_schema(
        parameters=[OpenApiParameter("If-None-Match", OpenApiTypes.STR, OpenApiParameter.HEADER)],
        responses={200: PermissionsOutput, 304: None},
    )
    def get(self, request: Request) -> HttpResponse:
        now = stamped(request).now
        permissions = permissions_of(agent_id=caller_of(request).agent_id, now=now)
        etag = f'"{permissions.version}"'
        answer: HttpResponse
        if _matches(request.headers.get("If-None-Match", ""), etag):
            answer = HttpResponseNotModified()
        else:
            listed = {"platforms": permissions.platforms, "version": permissions.version}
            # Some published clients read one level, some the other.
            answer = Response({"data": listed, **listed, "_meta": {"timestamp": now.isoformat()}})
        answer["ETag"] = etag
        answer["Cache-Control"] = "private, no-cache"
        return answer


def _matches(header: str, etag: str) -> bool:
    """RFC 9110, section 13.1.2: a list of tags or "*", compared without regard to W/."""
    tags = parse_etags(header)
    return "*" in tags or etag in {tag.removeprefix("W/") for tag in tags}


def _refuse_secrets(request: Request, words: Mapping[str, str]) -> None:
    """Turn the request away if the agent's words hold a secret: they would get on record, and stay there.

    Raises:
        ApiError: 403 with the field, or 502 where it cannot be known what to look for.
    """
    try:
        refuse_secrets(owner_id=caller_of(request).owner_id, texts=words)
    except SecretInRequest as leak:
        extra: dict[str, JSON] = {"detail": str(leak), "policy_id": "guardrail:leaked-secrets"}
        refusal = ApiError(
            403, "Permission denied", reason="denied_by_guardrail", code="secret_in_request", extra=extra
        )
        raise on_record(request, refusal) from leak
    except KeyServiceError as away:
        raise on_record(request, ApiError(502, str(away), code="credential_unavailable")) from away


class EvaluationView(APIView):
    """`POST /v1/authzen/access`: whether a scope is granted. A scope or platform that does not exist is just not."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (RequestsPerMinute,)

    @extend_schema(request=EvaluationInput, responses={200: EvaluationOutput})
    def post(self, request: Request) -> Response:
        data = read_body(request, EvaluationInput)
        caller = caller_of(request)
        if data.validated_data["subject"]["id"] != caller.agent_id:
            raise on_record(request, ApiError(403, "An agent can only ask about itself.", reason="subject_mismatch"))
        platform, _, scope = data.validated_data["resource"]["id"].partition(":")
        try:
            asks = may_use(
                owner_id=caller.owner_id,
                agent_id=caller.agent_id,
                platform=platform,
                scope=scope,
                now=stamped(request).now,
            )
        except NotCovered as refusal:
            return Response({"decision": False, "reason": refusal.reason, "context": {"reason": refusal.reason}})
        context: dict[str, str | bool] = {"reason": "approved"}
        if asks is not None:
            context["require_approval"] = asks
        return Response({"decision": True, "reason": "approved", "context": context})


class AccessRequestView(APIView):
    """`POST /v1/access-request`: ask the owner for a permission. The same wish that already waits is answered again."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (KeptRequestsPerMinute,)

    @extend_schema(request=AccessInput, responses={202: AccessOutput})
    def post(self, request: Request) -> Response:
        data = read_body(request, AccessInput)
        _refuse_secrets(
            request, {name: data.validated_data.get(name) or "" for name in ("platform", "scope", "reason")}
        )
        stamp = stamped(request)
        try:
            wish = ask(
                caller=caller_of(request),
                platform=data.validated_data["platform"],
                scope=data.validated_data.get("scope") or "",
                reason=data.validated_data["reason"] or "",
                request_id=stamp.request_id,
                now=stamp.now,
            )
        except ChildMayNotAsk as error:
            raise on_record(
                request, ApiError(403, "A child agent asks through its parent.", reason="delegation_depth_exceeded")
            ) from error
        except TooManyPending as error:
            raise on_record(
                request,
                ApiError(
                    429,
                    "Too many of this agent's requests wait for an answer.",
                    code="too_many_pending",
                    headers={"Retry-After": "60"},
                ),
            ) from error
        return Response({"request_token": str(wish.pk), "status": wish.status}, status=202)


class AccessStatusView(APIView):
    """`GET /v1/access-request/status/{token}`: only the agent that asked can read it."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (RequestsPerMinute,)

    @extend_schema(responses={200: AccessOutput})
    def get(self, request: Request, token: UUID) -> Response:
        wish = AccessRequest.objects.for_agent(caller_of(request).agent_id).filter(pk=token).first()
        if wish is None:
            raise on_record(request, ApiError(404, "There is no such access request of this agent.", code="not_found"))
        return Response({"status": wish.status})


class ChildrenView(APIView):
    """`POST /v1/agents/children`: an identity for a helper, for minutes, with a part of the caller's permissions."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (KeptRequestsPerMinute,)

    @extend_schema(request=ChildInput, responses={201: ChildOutput})
    def post(self, request: Request) -> Response:
        data = read_body(request, ChildInput)
        _refuse_secrets(request, {"name": data.validated_data.get("name") or ""})
        stamp = stamped(request)
        caller = caller_of(request)
        try:
            child = mint_child(
                caller=caller,
                wishes=data.wishes(),
                name=data.validated_data.get("name") or "",
                lifetime=data.lifetime(),
                request_id=stamp.request_id,
                now=stamp.now,
            )
        except NameRefused as error:
            raise on_record(request, ApiError(400, f"name: {error}", code="invalid_request")) from error
        except TooManyChildren as error:
            raise on_record(
                request, ApiError(409, "This agent has as many children as it may.", code="child_limit")
            ) from error
        except SigningUnavailable as error:
            raise ApiError(503, "Child tokens cannot be signed here.", code="as_signing_unavailable") from error
        except (ChildMayNotMint, NothingLeft, NotPossible) as error:
            reason = _MINT_REASONS[type(error)]
            raise on_record(request, ApiError(403, "Permission denied", reason=reason, code=reason)) from error
        return Response(_child_body(child), status=201, headers={"Cache-Control": "no-store"})


_MINT_REASONS: dict[type[Exception], str] = {
    ChildMayNotMint: "delegation_depth_exceeded",
    NothingLeft: "no_scopes_after_attenuation",
    NotPossible: "agent_not_active",
}


def _child_body(child: Child) -> dict[str, Any]:
    granted: dict[tuple[str, str], list[str]] = {}
    for grant in child.grants:
        key = (grant.scope.platform.slug, str(grant.connection_id or ""))
        granted.setdefault(key, []).append(grant.scope.name)
    return {
        "child_agent_id": child.agent.pk,
        "bearer_token": child.token,
        "expires_at": child.expires_at.isoformat(),
        "granted": [
            {"platform": platform, "scopes": scopes} | ({"connection_id": connection} if connection else {})
            for (platform, connection), scopes in granted.items()
        ],
    }
