"""`/set-up/steps`: what is left to do until the first call arrives, told by what there is. It changes nothing."""

from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.middleware import MemberRequest, wants_fragment
from agents.models import Agent, AgentKey, AgentStatus, Owner
from audit.events import Event
from audit.models import AuditEvent
from platforms.models import Connection, Grant

CALLS = (Event.ACTION_ALLOWED, Event.ACTION_DENIED, Event.ACTION_FAILED, Event.APPROVAL_REQUESTED)


@dataclass(frozen=True, slots=True)
class Steps:
    """Which steps are done, in their order; `agent` is the newest one, `call` the last that came in."""

    is_connected: bool
    agent: Agent | None
    is_allowed: bool
    has_key: bool
    call: AuditEvent | None

    @property
    def done(self) -> dict[str, bool]:
        """The steps in their order."""
        return {
            "platform": self.is_connected,
            "agent": self.agent is not None,
            "client": self.has_key,
            "permission": self.is_allowed,
            "call": self.call is not None,
        }

    @property
    def next(self) -> str:
        """The first step that is not done, or ""."""
        return next((name for name, is_done in self.done.items() if not is_done), "")

    @property
    def sentence(self) -> str:
        count = sum(self.done.values())
        return f"{count} of {len(self.done)} done." + (" The first call has arrived." if self.call else "")


def steps_of(owner: Owner) -> Steps:
    agents = Agent.objects.for_owner(owner).roots().exclude(status=AgentStatus.REVOKED)
    calls = [
        found
        for event in CALLS  # one look into the index for each, whatever else the log holds
        if (found := AuditEvent.objects.filter(owner_id=owner.pk, event=event).order_by("-at", "-seq").first())
    ]
    return Steps(
        is_connected=Connection.objects.filter(platform__owner=owner).exists(),
        agent=agents.order_by("-created_at").first(),
        is_allowed=Grant.objects.filter(agent__in=agents).exists(),
        has_key=AgentKey.objects.filter(agent__in=agents, retired_at=None).exists(),
        call=max(calls, key=lambda call: call.seq, default=None),
    )


@never_cache
@require_safe
def first_steps(request: MemberRequest) -> HttpResponse:
    """The page; to the script that watches for the call, its list alone."""
    context = {"steps": steps_of(request.member.owner), "may_administer": request.member.may_administer}
    return render(request, "set_up/_steps.html" if wants_fragment(request) else "set_up/steps.html", context)
