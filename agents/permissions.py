"""Which callers may act."""

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from agents.authentication import caller_of, record_turned_away
from agents.errors import ApiError
from agents.http import stamped
from agents.models import AgentStatus


class AnonymousView(APIView):
    """A view that asks for no identity. Who may ask how often is the view's own to limit."""

    authentication_classes = ()
    permission_classes = ()


class AgentMayAct(BasePermission):
    """Only an active agent gets past: suspension and revocation take effect on the very next call."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        caller = caller_of(request)
        if caller.status == AgentStatus.ACTIVE:
            return True
        reason = f"agent_{caller.status}"
        stamp = stamped(request)
        record_turned_away(caller, request_id=stamp.request_id, reason=reason, now=stamp.now)
        raise ApiError(403, "Permission denied", reason=reason)
