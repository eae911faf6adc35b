"""The page /settings: small cards, each a template of its own in templates/settings."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents import lifecycle, owner_settings, passkeys, sign_ins, webauthn_site
from agents.middleware import MemberRequest
from agents.models import Agent, AgentStatus, Member
from agents.reauthentication import WINDOW, is_confirmed
from agents.sessions import SessionStore


@never_cache
@require_safe
def settings_page(request: MemberRequest) -> HttpResponse:
    return settings_answer(request)


def settings_answer(request: MemberRequest, *, error: str = "", status: int = 200) -> HttpResponse:
    """The page, also as the answer of its buttons where something is wrong."""
    user, owner, now = request.member.user, request.member.owner, request.now
    stopped_at, stopped = lifecycle.stopped_with_all(owner)
    context = {
        "error": error,
        "may_administer": request.member.may_administer,
        "passkeys": passkeys.passkeys_of(user),
        "possible": webauthn_site.is_possible(),
        "confirmed": is_confirmed(request, now=now),
        "minutes": int(WINDOW.total_seconds() // 60),
        "sessions": sign_ins.sessions_of(user=user, now=now),
        "this_session": stored_key(request),
        "command_lines": sign_ins.command_lines_of(user=user, now=now),
        "lifetime_minutes": f"{owner_settings.approval_lifetime(owner).total_seconds() / 60:g}",
        "member_count": Member.objects.for_owner(owner).count(),
        "active_agents": Agent.objects.for_owner(owner).filter(status=AgentStatus.ACTIVE).count(),
        "stopped_at": stopped_at,
        "stopped": stopped,
    }
    return render(request, "settings/page.html", context, status=status)


def stored_key(request: MemberRequest) -> str:
    """Which of the person's sessions this request came with."""
    session = request.session
    return session.stored_key if isinstance(session, SessionStore) else ""
