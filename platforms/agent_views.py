"""The pages under /agents: who there is, one of them with all it may do, and the buttons that change it."""

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agents import lifecycle
from agents.client_setups import setups_for
from agents.enrolment import issue_invite
from agents.lifecycle import NameRefused, NotAllowed, NotPossible
from agents.middleware import MemberRequest
from agents.models import INVITE_LIFETIME, Agent, AgentStatus, InviteKind
from agents.newcomers import make_agent
from agents.reveal import reveal
from platforms import desk
from platforms.dry_runs import dry_run, methods_to_try, triable
from platforms.forms import ENDS, DeleteForm, LookForm, NewAgentForm, ReasonForm
from platforms.pages import press

AGENTS_PER_PAGE = 50


@never_cache
@require_safe
def agents(request: MemberRequest) -> HttpResponse:
    """The agents by name, `after` goes on where the last page ended; `tab=pending`: programs that ask to be one."""
    owner = request.member.owner
    after = request.GET.get("after", "").replace("\0", "")
    rows = Agent.objects.for_owner(owner).roots().order_by("name")
    found = list((rows.filter(name__gt=after) if after else rows)[: AGENTS_PER_PAGE + 1])
    shown = found[:AGENTS_PER_PAGE]
    is_pending_tab = request.GET.get("tab") == "pending"
    context = {
        "agents": shown,
        "is_first_page": not after,
        "next": shown[-1].name if len(found) > len(shown) else "",
        "is_pending_tab": is_pending_tab,
        "cards": desk.registration_cards(owner=owner, now=request.now) if is_pending_tab else [],
        "waiting_count": desk.count_registrations(owner=owner, now=request.now),
        "now": request.now,
        "may_administer": request.member.may_administer,
    }
    return render(request, "agents/list.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def new_agent(request: MemberRequest) -> HttpResponse:
    """The form, and what it makes: the agent's secret is in the answer to the POST and nowhere else."""
    if request.method != "POST":
        return _new_agent_form(request, NewAgentForm(initial={"kind": InviteKind.BIND}))
    form = NewAgentForm(request.POST)
    if not form.is_valid():
        return _new_agent_form(request, form, status=400)
    kind = InviteKind(form.cleaned_data["kind"])
    try:
        agent, secret = make_agent(
            member=request.member,
            name=form.cleaned_data["name"],
            kind=kind,
            request_id=request.request_id,
            now=request.now,
        )
    except NotAllowed as error:
        raise PermissionDenied from error
    except NameRefused as error:
        form.add_error("name", str(error))
        return _new_agent_form(request, form, status=400)
    return _secret_page(request, agent, kind, secret)


@never_cache
@require_safe
def agent(request: MemberRequest, agent_id: str) -> HttpResponse:
    """One agent with everything it may do."""
    found = agent_or_404(request, agent_id)
    children = desk.live_children_of(agent=found, now=request.now)
    may_administer = request.member.may_administer
    may_grant = may_administer and found.parent_id is None and found.status != AgentStatus.REVOKED
    context: dict[str, Any] = {
        "agent": found,
        "is_over": found.expires_at is not None and found.expires_at <= request.now,
        "grants": desk.grants_of(agent=found, now=request.now),
        "keys": desk.keys_of(agent=found, now=request.now),
        "invite": desk.open_invite_of(agent=found, now=request.now),
        "children": children,
        "ended_children": Agent.objects.filter(parent=found).count() - children.count(),
        "now": request.now,
        "may_administer": may_administer,
        "may_grant": may_grant,
    }
    look = LookForm(request.GET)
    said = look.cleaned_data if look.is_valid() else {}
    context["offers"] = desk.offered_scopes(owner=request.member.owner)
    context["triable"] = triable(context["offers"])
    context["methods"] = methods_to_try(context["triable"], tried=said.get("method", "").upper())
    if may_grant:
        _, context["connections"] = desk.grantable(owner=request.member.owner)
        context["ends"] = ENDS if any(grant.expires_at for grant, _ in context["grants"]) else ENDS[1:]
        context["changed"] = said.get("changed")
        context["taken"] = desk.just_taken(agent=found, grant_id=said["taken"]) if said.get("taken") else None
    if said.get("scope") and said.get("endpoint"):
        platform, _, scope = said["scope"].partition(":")
        context["tried"] = said
        context["verdict"] = dry_run(
            agent=found,
            platform=platform,
            scope=scope,
            method=said["method"].upper() or "GET",
            endpoint=said["endpoint"],
            now=request.now,
        )
    return render(request, "agents/detail.html", context)


@never_cache
@require_POST
def suspend(request: MemberRequest, agent_id: str) -> HttpResponse:
    form = ReasonForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""

    def verb() -> str:
        found = lifecycle.suspend(
            member=request.member, agent_id=agent_id, reason=reason, now=request.now, request_id=request.request_id
        )
        return f"{reveal(found.name)} is suspended: its next call is refused."

    return press(request, back=page_of(agent_id), verb=verb)


@never_cache
@require_POST
def reactivate(request: MemberRequest, agent_id: str) -> HttpResponse:
    def verb() -> str:
        found = lifecycle.reactivate(
            member=request.member, agent_id=agent_id, now=request.now, request_id=request.request_id
        )
        return f"{reveal(found.name)} is active again. Its children are reactivated one by one."

    return press(request, back=page_of(agent_id), verb=verb)


@never_cache
@require_POST
def delete(request: MemberRequest, agent_id: str) -> HttpResponse:
    """Revoke the agent for good, if its name was typed."""
    found = agent_or_404(request, agent_id)
    is_confirmed = DeleteForm(request.POST).confirms(name=found.name, agent_id=found.pk)

    def verb() -> str:
        if not is_confirmed:
            raise NotPossible("That is not the agent’s name. Nothing was changed.")
        _, *children = lifecycle.revoke(
            member=request.member, agent_id=agent_id, now=request.now, request_id=request.request_id
        )
        also = f" and its {len(children)} child agent{'' if len(children) == 1 else 's'}" if children else ""
        return f"{reveal(found.name)}{also} deleted. What it did stays on record."

    return press(request, back=page_of(agent_id), verb=verb)


@never_cache
@require_POST
def install_token(request: MemberRequest, agent_id: str) -> HttpResponse:
    """A fresh install token, in the answer to this POST and nowhere else."""
    return _invite(request, agent_id, InviteKind.INSTALL)


@never_cache
@require_POST
def bind_code(request: MemberRequest, agent_id: str) -> HttpResponse:
    """A fresh bind secret, likewise."""
    return _invite(request, agent_id, InviteKind.BIND)


def page_of(agent_id: str) -> str:
    return reverse("agent", kwargs={"agent_id": agent_id})


def _invite(request: MemberRequest, agent_id: str, kind: InviteKind) -> HttpResponse:
    def verb() -> HttpResponse:
        secret = issue_invite(
            member=request.member,
            agent_id=agent_id,
            kind=kind,
            now=request.now,
            request_id=request.request_id,
        )
        return _secret_page(request, agent_or_404(request, agent_id), kind, secret)

    return press(request, back=page_of(agent_id), verb=verb)


def agent_or_404(request: MemberRequest, agent_id: str) -> Agent:
    agents = Agent.objects.for_owner(request.member.owner).select_related("parent")
    try:
        return agents.get(pk=agent_id)
    except Agent.DoesNotExist as error:
        raise Http404 from error


def _new_agent_form(request: MemberRequest, form: NewAgentForm, *, status: int = 200) -> HttpResponse:
    context = {"form": form, "may_administer": request.member.may_administer}
    return render(request, "agents/new.html", context, status=status)


def _secret_page(request: MemberRequest, agent: Agent, kind: InviteKind, secret: str) -> HttpResponse:
    context = {
        "agent": agent,
        "is_install": kind == InviteKind.INSTALL,
        "secret": secret,
        "expires_at": request.now + INVITE_LIFETIME,
        "server": settings.PUBLIC_URL,
        "setups": setups_for(server=settings.PUBLIC_URL, code=secret),
    }
    return render(request, "agents/secret.html", context)
