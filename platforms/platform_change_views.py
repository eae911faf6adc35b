"""Two changes of a platform that say first what they cost: another address or authentication, and a scope less."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from agents.middleware import MemberRequest
from platforms.address_form import AddressForm
from platforms.models import Connection, Scope
from platforms.pages import press
from platforms.platform_views import page_of, platform_or_404
from platforms.readdressing import readdress
from platforms.scope_removal import losing, remove_scope

FORM = require_http_methods(["GET", "HEAD", "POST"])


@never_cache
@FORM
def address(request: MemberRequest, slug: str) -> HttpResponse:
    """Where the platform is and how it wants its credential, to be said anew."""
    platform = platform_or_404(request, slug)
    _check_admin(request)
    form = AddressForm.of(platform, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        connections = Connection.objects.filter(platform=platform).count()
        context = {"form": form, "platform": platform, "connections": connections}
        return render(request, "platforms/address.html", context, status=400 if form.is_bound else 200)

    def verb() -> str:
        lost = readdress(
            member=request.member,
            slug=slug,
            base_url=form.cleaned_data["base_url"],
            auth=form.auth(),
            request_id=request.request_id,
            now=request.now,
        )
        needs = f" {lost} connection{' needs its' if lost == 1 else 's need their'} credential again." if lost else ""
        return f"Saved.{needs}"

    return press(request, back=page_of(slug), verb=verb)


@never_cache
@FORM
def delete_scope(request: MemberRequest, slug: str, scope_id: int) -> HttpResponse:
    """What goes with the scope, and the button that deletes it."""
    platform = platform_or_404(request, slug)
    scope = Scope.objects.filter(platform=platform, pk=scope_id).first()
    if scope is None:
        raise Http404
    _check_admin(request)
    if request.method != "POST":
        context = {"platform": platform, "scope": scope, "agents": losing(scope=scope, now=request.now)}
        return render(request, "platforms/delete_scope.html", context)

    def verb() -> str:
        gone, agents = remove_scope(
            member=request.member, slug=slug, scope_id=scope_id, request_id=request.request_id, now=request.now
        )
        lost = "No agent held it" if not agents else f"{agents} agent{'s' if agents > 1 else ''} lost it"
        return f"{gone.name} is deleted. {lost}."

    return press(request, back=f"{page_of(slug)}#scopes", verb=verb)


def _check_admin(request: MemberRequest) -> None:
    if not request.member.may_administer:
        raise PermissionDenied
