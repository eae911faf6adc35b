"""The counts beside the links of every page: read when a template asks for them."""

from collections.abc import Callable
from functools import cache

from django.http import HttpRequest

from agents.http import stamped
from agents.models import Member
from approvals.models import ApprovalRequest
from platforms.desk import count_inbox


def counts(request: HttpRequest) -> dict[str, Callable[[], int]]:
    """A context processor. A view that has counted already says so under the same name."""
    member = getattr(request, "member", None)
    if not isinstance(member, Member):
        return {}
    now = stamped(request).now

    @cache
    def pending_count() -> int:
        return ApprovalRequest.objects.for_owner(member.owner).pending(now).count()

    @cache
    def inbox_count() -> int:
        return count_inbox(owner=member.owner, now=now)

    return {"pending_count": pending_count, "inbox_count": inbox_count}
