"""The agent API: submit an action, poll an approval, list what was left behind, relay a call that is only observed."""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.authentication import caller_of, record_refusal
from agents.errors import ApiError
from agents.http import client_address, stamped
from agents.limits import RequestsPerMinute
from agents.permissions import AgentMayAct
from agents.refusals import on_record
from approvals import answers
from approvals.binding import Tampered
from approvals.envelope import compact
from approvals.limits import ActionsPerMinute
from approvals.models import ApprovalRequest
from approvals.observe import observe_action
from approvals.outcome_record import ENDINGS_TOLD, check_outcome
from approvals.outcomes import error_for_agent
from approvals.pending import left_by
from approvals.serializers import (
    ActionInput,
    ActionOutput,
    ApprovalOutput,
    ErrorOutput,
    ObservationInput,
    PendingActionsOutput,
    QueuedOutput,
    pending_actions,
    read_idempotency_key,
)
from approvals.services import Forwarded, submit_action

_T = TypeVar("_T")
IDEMPOTENCY_KEY = "Idempotency-Key"
NOT_ON_RECORD = "The stored outcome of this call is not the one on record: its owner has to look."
OBSERVE_CREDENTIAL = "X-AV-Observe-Credential"


class ActionView(APIView):
    """Call a platform: the call is forwarded, or it waits for a person and the answer is 202 with an approval to poll.

    A platform's own error passes through with its status and body, marked with `_agentvalet`.
    """

    permission_classes = (AgentMayAct,)
    throttle_classes = (ActionsPerMinute,)

    @extend_schema(
        request=ActionInput,
        parameters=[
            OpenApiParameter(
                IDEMPOTENCY_KEY,
                OpenApiTypes.STR,
                OpenApiParameter.HEADER,
                description="Makes the call once however often it is sent within 24 hours: 1 to 255 visible ASCII "
                "characters of the agent's choice. The same key with the same body gets the first answer",
            )
        ],
        responses={200: ActionOutput, 202: QueuedOutput, (400, 403, 409, 412, 413, 502, 504): ErrorOutput},
    )
    def post(self, request: Request) -> HttpResponse:
        action = _read(request, lambda: ActionInput.read(request.data))
        key = _read(request, lambda: read_idempotency_key(request.headers.get(IDEMPOTENCY_KEY)))
        stamp = stamped(request)
        try:
            outcome = submit_action(
                caller=caller_of(request),
                action=action,
                idempotency_key=key,
                requester_address=client_address(stamp),
                request_id=stamp.request_id,
                now=stamp.now,
            )
        except answers.FAILURES as error:
            raise answers.failure(error, platform=action.platform, scope=action.scope) from error
        if isinstance(outcome, Forwarded):
            return answers.governed(outcome.response, outcome.meta)
        return Response(QueuedOutput(outcome).data, status=202)


class ObserveView(APIView):
    """Relay a call with the agent's own credential, for the record only. The credential is neither kept nor logged.

    The platform must be connected and the agent must hold a grant on it; a call that one of its scopes covers and asks
    approval for is refused. Status and body of the platform pass through; what is no JSON object is wrapped in `data`.
    """

    permission_classes = (AgentMayAct,)
    throttle_classes = (ActionsPerMinute,)

    @extend_schema(
        request=ObservationInput,
        parameters=[
            OpenApiParameter(
                OBSERVE_CREDENTIAL,
                str,
                OpenApiParameter.HEADER,
                required=True,
                description="The platform's credential, raw: it is placed as the platform wants it",
            )
        ],
        responses={200: dict, (400, 403, 412, 413, 502, 504): ErrorOutput},
    )
    def post(self, request: Request) -> HttpResponse:
        credential = request.headers.get(OBSERVE_CREDENTIAL, "")
        observation = _read(request, lambda: ObservationInput.read(request.data, credential=credential))
        stamp = stamped(request)
        try:
            response, meta = observe_action(
                caller=caller_of(request), observation=observation, request_id=stamp.request_id, now=stamp.now
            )
        except answers.FAILURES as error:
            raise answers.failure(error, platform=observation.platform, scope=observation.scope) from error
        return answers.observed(response, meta)


def _read(request: Request, reading: Callable[[], _T]) -> _T:
    """What an active agent sent; that it was no request is on record."""
    try:
        return reading()
    except APIException:
        stamp = stamped(request)
        record_refusal(caller_of(request), request_id=stamp.request_id, reason="invalid_request", now=stamp.now)
        raise


class ApprovalView(APIView):
    """Poll an approval. Never throttled; any error here ends the wait of every published client."""

    permission_classes = (AgentMayAct,)

    @extend_schema(responses={200: ApprovalOutput, (403, 404): ErrorOutput})
    def get(self, request: Request, approval_id: UUID) -> HttpResponse:
        caller = caller_of(request)
        rows = ApprovalRequest.objects.for_agent(caller.agent_id).annotate(told=ENDINGS_TOLD).defer("form")
        approval = rows.filter(pk=approval_id).first()
        if approval is None:
            raise on_record(request, ApiError(404, "There is no such approval of this agent.", code="not_found"))
        status = approval.decision  # a row past its time says so once that is decided, under its lock
        body: dict[str, str | None] = {
            "approval_id": str(approval.pk),
            "status": status,
            "created_at": approval.created_at.isoformat(),
            "expires_at": approval.expires_at.isoformat(),
            "executed_at": approval.executed_at.isoformat() if approval.executed_at else None,
        }
        answer = approval.result_json
        error = error_for_agent(approval)
        try:
            check_outcome(approval, approval.told)  # type: ignore[attr-defined]  # annotated
        except Tampered:
            answer, error = None, NOT_ON_RECORD
        if error and answer is None:  # never both: clients differ in which they look at first
            body["execution_error"] = error
        text = compact(body)
        if answer is not None:
            text = f'{text[:-1]},"result":{answer}}}'  # as it came: it is never parsed again
        return HttpResponse(text, content_type="application/json")


class PendingActionsView(APIView):
    """The agent's calls that wait for a person, and those that ended in the last 24 hours: up to 100 of each."""

    permission_classes = (AgentMayAct,)
    throttle_classes = (RequestsPerMinute,)

    @extend_schema(responses={200: PendingActionsOutput, (403,): ErrorOutput})
    def get(self, request: Request) -> Response:
        return Response(pending_actions(left_by(agent_id=caller_of(request).agent_id, now=stamped(request).now)))
