"""The agent API: submit an action, poll an approval."""

from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.authentication import caller_of, record_refusal
from agents.errors import ApiError
from agents.http import client_address, stamped
from agents.permissions import AgentMayAct
from approvals.envelope import compact, success, upstream_error
from approvals.execution import CannotSend
from approvals.models import ApprovalRequest, Decision
from approvals.serializers import ActionInput, ApprovalOutput, ErrorOutput, QueuedOutput
from approvals.services import Action, Forwarded, submit_action
from audit.events import JSON
from platforms.client import PlatformUnreachable
from platforms.coverage import NotConnected, NotCovered
from platforms.endpoints import EndpointRefused


class ActionView(APIView):
    """`POST /v1/actions`: forwards the call, or answers 202 with an approval to poll."""

    permission_classes = (AgentMayAct,)

    @extend_schema(
        request=ActionInput,
        responses={200: dict, 202: QueuedOutput, (400, 401, 403, 412, 413, 502, 504): ErrorOutput},
    )
    def post(self, request: Request) -> HttpResponse:
        caller = caller_of(request)
        stamp = stamped(request)
        try:
            action = _read_action(request)
        except (ApiError, ValidationError):
            record_refusal(caller, request_id=stamp.request_id, reason="invalid_request", now=stamp.now)
            raise
        try:
            outcome = submit_action(
                caller=caller,
                action=action,
                requester_address=client_address(stamp),
                request_id=stamp.request_id,
                now=stamp.now,
            )
        except EndpointRefused as error:
            raise ApiError(400, str(error), code="endpoint_refused") from error
        except NotCovered as error:
            hint = {"platform": action.platform, "scope": action.scope}
            extra: dict[str, JSON] = {"detail": str(error), "access_request_hint": hint}
            raise ApiError(403, "Permission denied", reason=error.reason, extra=extra) from error
        except NotConnected as error:
            raise ApiError(412, "platform_not_connected", code="no_credential") from error
        except PlatformUnreachable as error:
            status = 504 if error.code == "upstream_timeout" else 502
            extra: dict[str, JSON] = {"detail": str(error)}
            raise ApiError(status, "Upstream request failed", code=error.code, extra=extra) from error
        except CannotSend as error:
            raise ApiError(502, str(error), code=error.reason) from error
        if isinstance(outcome, Forwarded):
            return _answer(outcome)
        return Response(QueuedOutput(outcome).data, status=202)


def _read_action(request: Request) -> Action:
    data = ActionInput(data=request.data)
    data.is_valid(raise_exception=True)
    return data.to_action()


def _answer(outcome: Forwarded) -> HttpResponse:
    """A platform's answer as the contract's: what clients would misread as ours or follow elsewhere becomes a 502."""
    response = outcome.response
    if 200 <= response.status < 300:
        return HttpResponse(success(response.body, outcome.meta), content_type="application/json")
    if response.status == 401:  # clients answer a 401 by sending the call again
        raise ApiError(502, "Upstream authentication failed", code="reauth_failed")
    if response.status < 400:  # clients follow a redirect, with their token
        raise ApiError(502, "The platform answered with a redirect", code="upstream_redirect")
    if response.status >= 600:
        raise ApiError(502, "The platform's answer is not HTTP", code="invalid_response")
    body, content_type = upstream_error(response, outcome.meta)
    answer = HttpResponse(body, status=response.status, content_type=content_type)
    if "retry-after" in response.headers:
        answer["Retry-After"] = response.headers["retry-after"]
    return answer


class ApprovalView(APIView):
    """`GET /v1/approvals/{id}`: never throttled; any error on it ends the wait of every published client."""

    permission_classes = (AgentMayAct,)

    @extend_schema(responses={200: ApprovalOutput, (401, 403, 404): ErrorOutput})
    def get(self, request: Request, approval_id: UUID) -> HttpResponse:
        caller = caller_of(request)
        approval = ApprovalRequest.objects.for_agent(caller.agent_id).filter(pk=approval_id).defer("form").first()
        if approval is None:
            raise ApiError(404, "There is no such approval of this agent.", code="not_found")
        status = approval.decision
        if status == Decision.PENDING and stamped(request).now >= approval.expires_at:
            status = Decision.EXPIRED  # the sweep writes it down within seconds
        body: dict[str, str | None] = {
            "approval_id": str(approval.pk),
            "status": status,
            "created_at": approval.created_at.isoformat(),
            "expires_at": approval.expires_at.isoformat(),
            "executed_at": approval.executed_at.isoformat() if approval.executed_at else None,
        }
        error = approval.deny_reason if status == Decision.DENIED else approval.execution_error
        if error:
            body["execution_error"] = error
        text = compact(body)
        if approval.result_json is not None:
            text = f'{text[:-1]},"result":{approval.result_json}}}'  # as it came: it is never parsed again
        return HttpResponse(text, content_type="application/json")
