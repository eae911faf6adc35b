"""How often an agent may ask what is no call. Its children count with it, so that they are no way around it.

Polling an approval is never limited. Calls have a limit of their own (`approvals.limits`).
"""

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from agents.authentication import caller_of, record_turned_away
from agents.errors import ApiError
from agents.http import stamped
from agents.throttling import check_rate

KEPT_SHARE = 10  # what leaves rows behind may be asked for a tenth as often


class RequestsPerMinute(BaseThrottle):
    """AGENTVALET_REQUESTS_PER_MINUTE, for each endpoint by itself. DRF asks after authentication."""

    share = 1

    def allow_request(self, request: Request, view: APIView) -> bool:
        caller, stamp = caller_of(request), stamped(request)
        name = type(view).__name__
        limit = settings.REQUESTS_PER_MINUTE
        try:
            check_rate(
                key=f"requests:{name}:{caller.family}",
                limit=max(1, limit // self.share) if limit > 0 else 0,
                per_seconds=60,
                now=stamp.now,
            )
        except ApiError:
            record_turned_away(caller, request_id=stamp.request_id, reason="rate_limited", now=stamp.now)
            raise
        return True


class KeptRequestsPerMinute(RequestsPerMinute):
    """A tenth of that, where each request leaves rows behind: reports, wishes, children."""

    share = KEPT_SHARE
