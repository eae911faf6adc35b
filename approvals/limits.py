"""How many calls an agent may make in a minute, and have waiting for a person. Polling an approval is not a call."""

import math
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from agents.authentication import Caller, caller_of, record_refusal, record_turned_away
from agents.errors import ApiError
from agents.http import stamped
from agents.throttling import check_rate, first_in_a_minute
from approvals.binding import Form, digest_of, write_form
from approvals.models import ApprovalRequest


class ActionsPerMinute(BaseThrottle):
    """AGENTVALET_ACTIONS_PER_MINUTE for an agent and its children together, so that children are no way around it.

    DRF asks after authentication: the 401 that makes a client sign and send its call again costs it nothing.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        caller = caller_of(request)
        stamp = stamped(request)
        family = caller.family
        try:
            check_rate(key=f"actions:{family}", limit=settings.ACTIONS_PER_MINUTE, per_seconds=60, now=stamp.now)
        except ApiError:
            record_turned_away(caller, request_id=stamp.request_id, reason="rate_limited", now=stamp.now)
            raise
        return True


def check_pending(*, caller: Caller, form: Form, request_id: UUID, now: datetime) -> None:
    """Refuse another call to a person who has AGENTVALET_MAX_PENDING of this agent and its children to decide on.

    A call that waits already is no further one. It is against load, so nothing is locked: calls of the same moment can
    go over it, by no more than there are threads to take them.

    Raises:
        ApiError: 429, with the seconds until the oldest of them expires in Retry-After.
    """
    if settings.MAX_PENDING <= 0:
        return
    family = caller.family
    rows = ApprovalRequest.objects.filter(owner_id=caller.owner_id).pending(now)
    waiting = rows.filter(Q(agent_id=family) | Q(agent__parent_id=family))
    ends = list(waiting.order_by("expires_at").values_list("expires_at", flat=True)[: settings.MAX_PENDING])
    if len(ends) < settings.MAX_PENDING:
        return
    if rows.filter(agent_id=caller.agent_id, digest=digest_of(write_form(form))).exists():
        return
    if first_in_a_minute(key=f"pending:{caller.agent_id}", now=now):
        record_refusal(
            caller,
            request_id=request_id,
            reason="too_many_pending",
            now=now,
            platform=form.platform,
            action=form.scope,
            metadata={"method": form.method, "endpoint": form.endpoint, "waiting": len(ends)},
        )
    raise ApiError(
        429,
        f"{len(ends)} calls of this agent wait for a person: ask again when some are decided or have expired.",
        code="too_many_pending",
        headers={"Retry-After": str(math.ceil((ends[0] - now).total_seconds()))},
    )
