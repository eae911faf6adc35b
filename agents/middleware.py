"""Pages are for members: nobody else gets past this point, and every view behind it has `request.member`."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from agents.http import StampedRequest
from agents.models import Member, User

# What is reached without a session. Everything else asks for one; a test walks all routes.
PUBLIC_PATHS = ("/sign-in", "/sign-out", "/health")
PUBLIC_PREFIXES = (
    "/v1/",  # agents show an assertion
    "/.well-known/",
    "/admin/",  # has its own check, and sends people to /sign-in
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
        if request.path in PUBLIC_PATHS or request.path.startswith(PUBLIC_PREFIXES):
            return None
        user = request.user
        if not isinstance(user, User):
            if wants_fragment(request):
                return HttpResponse(status=401)  # the sign-in page must not end up inside the list
            return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")
        member = current_member(user)
        if member is None:
            return render(
                request,
                "errors/error.html",
                {
                    "title": "You are not a member of any owner yet",
                    "sentence": "Ask an administrator to add you, then reload this page.",
                    "may_sign_out": True,
                },
                status=403,
            )
        request.member = member  # type: ignore[attr-defined]  # MemberRequest, from here on
        return None


def current_member(user: User) -> Member | None:
    """The place a signed-in user acts from: the first membership."""
    return Member.objects.filter(user=user).select_related("owner", "user").order_by("id").first()
