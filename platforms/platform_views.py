"""The page /platforms: what the owner has connected, and how it stands."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from agents.middleware import MemberRequest
from platforms.standing import MOST, standings


@never_cache
@require_safe
def platforms(request: MemberRequest) -> HttpResponse:
    rows = standings(owner=request.member.owner, now=request.now)
    return render(request, "platforms/list.html", {"standings": rows, "is_cut": len(rows) == MOST, "most": MOST})
