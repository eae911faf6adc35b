"""Receipts and the public keys to check them with: for agents, for members, for everybody."""

import json
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from agents.authentication import caller_of
from agents.errors import ApiError
from agents.http import stamped
from agents.middleware import MemberRequest
from agents.permissions import AgentMayAct
from approvals.binding import Tampered
from approvals.models import ApprovalRequest
from approvals.receipt_keys import published
from approvals.receipts import receipt_for_agent, receipt_for_member
from approvals.serializers import ErrorOutput
from audit.models import AuditEvent

CHANGED = "There is no receipt of this: the row was changed behind the server's back."


class ReceiptOutput(serializers.Serializer[None]):
    """A signed receipt (compact JWS, ES256)."""

    audit_id = serializers.UUIDField()
    kid = serializers.CharField()
    jwks_url = serializers.URLField()
    receipt = serializers.CharField()
    did = serializers.CharField()


class ReceiptView(APIView):
    """A signed receipt of one of the agent's own calls, by the `audit_id` that its answer named."""

    permission_classes = (AgentMayAct,)

    @extend_schema(responses={200: ReceiptOutput, (403, 404, 409): ErrorOutput})
    def get(self, request: Request, audit_id: UUID) -> Response:
        try:
            receipt = receipt_for_agent(caller=caller_of(request), audit_id=audit_id, now=stamped(request).now)
        except (AuditEvent.DoesNotExist, ApprovalRequest.DoesNotExist) as error:
            raise ApiError(404, "There is no receipt of that name for this agent.", code="not_found") from error
        except Tampered as error:
            raise ApiError(409, CHANGED, code="tampered") from error
        return Response(receipt)


@never_cache
@require_safe
def download(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """The receipt of an approval, to be saved."""
    try:
        receipt = receipt_for_member(owner=request.member.owner, approval_id=approval_id, now=request.now)
    except (AuditEvent.DoesNotExist, ApprovalRequest.DoesNotExist) as error:
        raise Http404 from error
    except Tampered:
        return HttpResponse(CHANGED, status=409, content_type="text/plain; charset=utf-8")
    return HttpResponse(
        json.dumps(receipt, indent=1) + "\n",
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="receipt-{approval_id}.json"'},
    )


@cache_control(public=True, max_age=300)
@require_safe
def keys(request: HttpRequest) -> HttpResponse:
    """The keys that receipts are checked with."""
    return JsonResponse(published(), headers={"Access-Control-Allow-Origin": "*"})
