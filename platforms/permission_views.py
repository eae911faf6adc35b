"""The buttons of the permissions on an agent's page."""

from django.core.exceptions import BadRequest
from django.http import HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from agents.lifecycle import NotPossible
from agents.middleware import MemberRequest
from platforms import desk, granting
from platforms.agent_views import agent_or_404, page_of
from platforms.forms import PermissionForm, ToggleForm
from platforms.pages import press


@never_cache
@require_POST
def add(request: MemberRequest, agent_id: str) -> HttpResponse:
    """Give the agent a scope, or give it anew with another connection."""
    agent_or_404(request, agent_id)
    scopes, connections = desk.grantable(owner=request.member.owner)
    form = PermissionForm(request.POST, scopes=scopes, connections=connections)

    def verb() -> str:
        if not form.is_valid():
            raise NotPossible(
                "Choose one of the scopes, a connection of the same platform or none, and an end or none."
            )
        choice = form.choice(now=request.now)
        grant = granting.add(
            member=request.member, agent_id=agent_id, choice=choice, request_id=request.request_id, now=request.now
        )
        until = f" until {grant.expires_at:%Y-%m-%d %H:%M} UTC" if grant.expires_at else ""
        return f"{choice.platform} / {choice.scope} granted{until}."

    return press(request, back=f"{page_of(agent_id)}#permissions", verb=verb)


@never_cache
@require_POST
def set_approval(request: MemberRequest, agent_id: str, grant_id: int) -> HttpResponse:
    form = ToggleForm(request.POST)
    if not form.is_valid():
        raise BadRequest

    def verb() -> str:
        grant = granting.set_approval(
            member=request.member,
            agent_id=agent_id,
            grant_id=grant_id,
            require_approval=form.cleaned_data["require_approval"],
            request_id=request.request_id,
            now=request.now,
        )
        how = "waits for a person from now on" if grant.require_approval else "goes straight through from now on"
        return f"{grant.scope.platform.slug} / {grant.scope.name} {how}."

    return press(request, back=f"{page_of(agent_id)}?changed={grant_id}#permissions", verb=verb)


@never_cache
@require_POST
def revoke(request: MemberRequest, agent_id: str, grant_id: int) -> HttpResponse:
    def verb() -> str:
        grant = granting.take(
            member=request.member,
            agent_id=agent_id,
            grant_id=grant_id,
            request_id=request.request_id,
            now=request.now,
        )
        return f"{grant.scope.platform.slug} / {grant.scope.name} revoked."

    return press(request, back=f"{page_of(agent_id)}?taken={grant_id}#permissions", verb=verb)
