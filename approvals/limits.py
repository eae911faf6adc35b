"""How many calls an agent may make in a minute. Polling an approval is not a call."""

from django.conf import settings
from django.core.cache import cache
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from agents.authentication import caller_of, record_refusal
from agents.errors import ApiError
from agents.http import stamped
from agents.throttling import check_rate


class ActionsPerMinute(BaseThrottle):
    """AGENTVALET_ACTIONS_PER_MINUTE for an agent and its children together, so that children are no way around it.

    DRF asks after authentication: the 401 that makes a client sign and send its call again costs it nothing.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        caller = caller_of(request)
        stamp = stamped(request)
        family = caller.parent_id or caller.agent_id
        try:
            check_rate(key=f"actions:{family}", limit=settings.ACTIONS_PER_MINUTE, per_seconds=60, now=stamp.now)
        except ApiError:
            # On record once a minute: a row per refusal would be a load of its own.
            if cache.add(f"actions:limited:{caller.agent_id}", 1, timeout=60):
                record_refusal(caller, request_id=stamp.request_id, reason="rate_limited", now=stamp.now)
            raise
        return True
