"""`/join?token=…`: where an invitation's link leads. Looking changes nothing; the button does."""

from django import forms
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from agents import joining
from agents.errors import ApiError
from agents.http import client_address, stamped
from agents.models import User
from agents.people_models import Invitation
from agents.profile import PasswordRefused
from agents.throttling import check_rate, network_of

BACKEND = "django.contrib.auth.backends.ModelBackend"


class AccountForm(forms.Form):
    """For somebody new. Who has an account sends none of it."""

    name = forms.CharField(max_length=200, required=False)
    password = forms.CharField(max_length=4096, strip=False, required=False)
    again = forms.CharField(max_length=4096, strip=False, required=False)


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest) -> HttpResponse:
    """Whom it is for, and a form; on POST the person is a member and signed in."""
    stamp = stamped(request)
    try:
        check_rate(key=f"join:{network_of(client_address(request))}", limit=30, per_seconds=60, now=stamp.now)
    except ApiError as error:
        return HttpResponse(error.error, status=429, headers=dict(error.headers), content_type="text/plain")
    token = str(request.POST.get("token") or request.GET.get("token") or "")[:200]
    try:
        invitation = joining.find_invitation(token=token, now=stamp.now)
        return _join(request, invitation, token) if request.method == "POST" else _page(request, invitation, token)
    except joining.NoInvitation as error:
        raise Http404 from error


def _join(request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
    form = AccountForm(request.POST)
    stamp = stamped(request)
    if not form.is_valid() or form.cleaned_data["password"] != form.cleaned_data["again"]:
        return _page(request, invitation, token, error="Type the password twice, the same each time.", status=400)
    try:
        member = joining.join(
            token=token,
            user=request.user if isinstance(request.user, User) else None,
            name=form.cleaned_data["name"],
            password=form.cleaned_data["password"],
            request_id=stamp.request_id,
            address=client_address(request),
            now=stamp.now,
        )
    except PasswordRefused as error:
        return _page(request, invitation, token, error=str(error), status=400)
    except joining.SignInFirst:
        return _page(request, invitation, token, error="Sign in with your account first.", status=400)
    if request.user != member.user:
        login(request, member.user, backend=BACKEND)
    return redirect("approvals")


def _page(
    request: HttpRequest, invitation: Invitation, token: str, *, error: str = "", status: int = 200
) -> HttpResponse:
    user = request.user
    context = {
        "invitation": invitation,
        "token": token,
        "has_account": joining.has_account(invitation),
        "is_signed_in_as_them": isinstance(user, User) and user.email.lower() == invitation.email.lower(),
        "error": error,
    }
    response = render(request, "settings/join.html", context, status=status)
    response["Referrer-Policy"] = "no-referrer"
    return response
