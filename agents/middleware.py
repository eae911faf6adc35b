"""Pages are for members: nobody else gets past this point, and every view behind it has `request.member`."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from agents.device_names import name_of
from agents.first_owner import is_needed
from agents.http import StampedRequest, client_address, stamped
from agents.models import Member, User
from agents.sessions import SessionStore

# What is reached without a session. Everything else asks for one; a test walks all routes.
PUBLIC_PATHS = (
    "/sign-in",
    "/sign-in/passkey",
    "/sign-in/passkey/options",
    "/set-up",
    "/join",
    "/sign-out",
    "/health",
    "/api-docs",
    "/approve",  # a delegate shows the token of a link
    "/sw.js",
    "/manifest.webmanifest",
    "/offline",
)
PUBLIC_PREFIXES = (
    "/v1/",  # agents show an assertion
    "/functions/v1/",  # the command line shows a token of its own
    "/.well-known/",
)


class MemberRequest(StampedRequest):
    """A request that has passed `SignInRequired`."""

    member: Member


def wants_fragment(request: HttpRequest) -> bool:
    """Whether a script of ours asks for a part of a page."""
    return request.headers.get("X-Fragment") == "1"


class SignInRequired:
    """Sends strangers to /sign-in and sets `request.member`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if not request.path.startswith(PUBLIC_PREFIXES) and request.path != "/health":
            request.get_host()  # DisallowedHost, a 400, for pages under a name that is not ours (DNS rebinding)
        if request.path in PUBLIC_PATHS or request.path.startswith(PUBLIC_PREFIXES):
            is_asked = request.path == "/sign-in" and request.method != "POST"
            return redirect("set-up") if is_asked and is_needed() else None
        user = request.user
        if not isinstance(user, User):
            return _to_sign_in(request)
        if request.path.startswith("/admin/"):
            # The admin's own form would be a second way in, without the throttle: it is never reached.
            return None if user.is_staff else _refusal(request, "The admin is for staff", "Go back to the approvals.")
        member = current_member(user)
        if member is None:
            return redirect("set-up") if is_needed() else _refusal(request, *_NO_MEMBER)
        request.member = member  # type: ignore[attr-defined]  # MemberRequest, from here on
        if isinstance(request.session, SessionStore):
            device = name_of(request.headers.get("User-Agent", ""))
            request.session.note_seen(device=device, address=client_address(request), now=stamped(request).now)
        return None


_NO_MEMBER = ("You are not a member of any owner yet", "Ask an administrator to add you, then reload this page.")


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if wants_fragment(request):
        return HttpResponse(status=401)  # the sign-in page must not end up inside the list
    if is_needed():
        return redirect("set-up")
    return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")


def _refusal(request: HttpRequest, title: str, sentence: str) -> HttpResponse:
    context = {"title": title, "sentence": sentence, "may_sign_out": True}
    return render(request, "errors/error.html", context, status=403)


def current_member(user: User) -> Member | None:
    """The place a signed-in user acts from: the first membership."""
    return Member.objects.filter(user=user).select_related("owner", "user").order_by("id").first()
