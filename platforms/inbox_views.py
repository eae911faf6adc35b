"""The pages /notifications and /agent-reports: what agents ask of their owner, and what they say about themselves."""

from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agents.middleware import MemberRequest
from agents.models import Agent
from agents.reveal import reveal
from notifications import reports, uninstalls
from notifications.models import AgentReport
from platforms import access, admissions, desk
from platforms.forms import AccessForm, picked
from platforms.grants import NoSuchScope
from platforms.pages import press, see_other

REPORTS_PER_PAGE = 30


@never_cache
@require_safe
def inbox(request: MemberRequest) -> HttpResponse:
    """Everything that waits for an answer."""
    found = desk.inbox(owner=request.member.owner, now=request.now)
    context = {
        "inbox": found,
        "inbox_count": found.count,
        "now": request.now,
        "may_administer": request.member.may_administer,
    }
    return render(request, "inbox/list.html", context)


@never_cache
@require_POST
def approve_registration(request: MemberRequest, ask_id: UUID) -> HttpResponse:
    """Make the program an agent with the permissions ticked; on to its page, where more can be given."""

    def verb() -> HttpResponse:
        grants = picked(request.POST)
        found = admissions.approve(
            member=request.member,
            registration=ask_id,
            grants=grants,
            request_id=request.request_id,
            now=request.now,
        )
        permissions = f"{len(grants)} permission{'' if len(grants) == 1 else 's'}"
        name = reveal(found.agent.name if found.agent else found.agent_name)
        messages.success(request, f"{name} is an agent now, with {permissions}.")
        return see_other(reverse("agent", kwargs={"agent_id": found.agent_id}))

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_POST
def reject_registration(request: MemberRequest, ask_id: UUID) -> HttpResponse:
    def verb() -> str:
        found = admissions.reject(
            member=request.member, registration=ask_id, request_id=request.request_id, now=request.now
        )
        return f"{reveal(found.agent_name)} was turned away."

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_POST
def approve_access(request: MemberRequest, ask_id: UUID) -> HttpResponse:
    """Grant the scope asked for, or the one picked instead."""
    form = AccessForm(request.POST)

    def verb() -> str:
        if not form.is_valid():
            raise NoSuchScope("Choose one of the scopes.")
        found = access.approve(
            member=request.member,
            request=ask_id,
            scope=form.cleaned_data["scope"],
            require_approval=form.cleaned_data["require_approval"],
            request_id=request.request_id,
            now=request.now,
        )
        scope = form.cleaned_data["scope"] or found.scope
        asks = " with a person’s approval for each call" if form.cleaned_data["require_approval"] else ""
        return f"{reveal(found.agent.name)} may use {found.platform} / {scope} from now on{asks}."

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_POST
def deny_access(request: MemberRequest, ask_id: UUID) -> HttpResponse:
    def verb() -> str:
        found = access.deny(member=request.member, request=ask_id, request_id=request.request_id, now=request.now)
        return f"Denied. {reveal(found.agent.name)} keeps the permissions it has."

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_POST
def approve_uninstall(request: MemberRequest, ask_id: UUID) -> HttpResponse:
    def verb() -> str:
        agent, *children = uninstalls.approve(
            member=request.member, uninstall_id=ask_id, request_id=request.request_id, now=request.now
        )
        also = f" and its {len(children)} child agent{'' if len(children) == 1 else 's'}" if children else ""
        return f"{reveal(agent.name)}{also} revoked for good."

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_POST
def keep_agent(request: MemberRequest, ask_id: UUID) -> HttpResponse:
    def verb() -> str:
        found = uninstalls.reject(
            member=request.member, uninstall_id=ask_id, request_id=request.request_id, now=request.now
        )
        return f"{reveal(found.agent.name)} stays as it is."

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_POST
def read_report(request: MemberRequest, report_id: UUID) -> HttpResponse:
    def verb() -> str:
        reports.mark_read(member=request.member, report_id=report_id, request_id=request.request_id, now=request.now)
        return "Marked as read. The report stays under all reports."

    return press(request, back=reverse("inbox"), verb=verb)


@never_cache
@require_safe
def agent_reports(request: MemberRequest) -> HttpResponse:
    """All reports, newest first; `agent` keeps to one agent's, `before` goes on where the last page ended."""
    rows = AgentReport.objects.for_owner(request.member.owner).select_related("agent")
    agent = Agent.objects.for_owner(request.member.owner).filter(pk=_plain(request.GET.get("agent"))).first()
    if agent is not None:
        rows = rows.filter(agent=agent)
    cursor = _cursor(request.GET.get("before"))
    if cursor is not None:
        at, pk = cursor
        rows = rows.filter(Q(received_at__lt=at) | Q(received_at=at, pk__lt=pk))
    found = list(rows.order_by("-received_at", "-pk")[: REPORTS_PER_PAGE + 1])
    shown = found[:REPORTS_PER_PAGE]
    context = {
        "reports": shown,
        "agent": agent,
        "is_first_page": cursor is None,
        "older": f"{shown[-1].received_at.isoformat()}_{shown[-1].pk}" if len(found) > len(shown) else "",
        "now": request.now,
    }
    return render(request, "inbox/reports.html", context)


def _plain(text: str | None) -> str:
    return (text or "").replace("\0", "")


def _cursor(text: str | None) -> tuple[datetime, UUID] | None:
    at, _, pk = (text or "").partition("_")
    try:
        parsed = datetime.fromisoformat(at)
        return (parsed, UUID(pk)) if parsed.tzinfo else None
    except ValueError:
        return None
