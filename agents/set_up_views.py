"""`/set-up`: where every page leads as long as there is no owner. Afterwards it is not there."""

from collections.abc import Mapping

from django import forms
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from agents.errors import ApiError
from agents.first_owner import AlreadySetUp, SetUpRefused, is_needed, make_first_owner
from agents.http import client_address, stamped
from agents.join_views import BACKEND
from agents.profile import PasswordRefused
from agents.throttling import check_rate, network_of

TRIES_PER_MINUTE = 10


class SetUpForm(forms.Form):
    secret = forms.CharField(max_length=100)
    owner_name = forms.CharField(max_length=200)
    email = forms.EmailField(max_length=254)
    name = forms.CharField(max_length=200, required=False)
    password = forms.CharField(max_length=4096, strip=False)
    again = forms.CharField(max_length=4096, strip=False)

    def clean_again(self) -> str:
        again = str(self.cleaned_data["again"])
        if again != self.cleaned_data.get("password"):
            raise forms.ValidationError("not the same")
        return again

    def sentence(self) -> str:
        if "again" in self.errors and "password" not in self.errors:
            return "Type the password twice, the same each time."
        return "Fill in everything but your name, with an e-mail address that is one."


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def set_up(request: HttpRequest) -> HttpResponse:
    if not is_needed():
        if request.user.is_authenticated:
            return redirect("first-steps")
        raise Http404
    return _made(request) if request.method == "POST" else _page(request)


def _made(request: HttpRequest) -> HttpResponse:
    stamp, address = stamped(request), client_address(request)
    try:
        check_rate(key=f"set-up:{network_of(address)}", limit=TRIES_PER_MINUTE, per_seconds=60, now=stamp.now)
    except ApiError as error:
        return _page(request, error=error.error, status=429, headers=error.headers)
    form = SetUpForm(request.POST)
    if not form.is_valid():
        return _page(request, error=form.sentence(), status=400)
    data = form.cleaned_data
    try:
        member = make_first_owner(
            secret=data["secret"],
            owner_name=data["owner_name"],
            email=data["email"],
            name=data["name"],
            password=data["password"],
            request_id=stamp.request_id,
            address=address,
            now=stamp.now,
        )
    except (SetUpRefused, PasswordRefused) as error:
        return _page(request, error=str(error), status=400)
    except AlreadySetUp as error:
        raise Http404 from error
    login(request, member.user, backend=BACKEND)
    request.session["is_new"] = True  # pages on the way lead back to the first steps, as long as this session lasts
    return redirect("first-steps")


def _page(
    request: HttpRequest, *, error: str = "", status: int = 200, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    typed = {name: request.POST.get(name, "")[:254] for name in ("owner_name", "email", "name")}
    response = render(request, "set_up/set_up.html", {"error": error, "typed": typed}, status=status)
    for name, text in (headers or {}).items():
        response[name] = text
    return response
