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
from agents.models import User
from agents.profile import PasswordRefused, check_password_choice
from agents.set_up_secret import is_set_up_secret
from agents.throttling import check_rate, network_of

TRIES_PER_MINUTE = 10


class SetUpForm(forms.Form):
    """Everything that is wrong is said at once, each at its field; `make_first_owner` holds the rules all the same."""

    secret = forms.CharField(max_length=100, error_messages={"required": "Copy it from the server's console."})
    owner_name = forms.CharField(max_length=200, error_messages={"required": "Give the organisation a name."})
    email = forms.EmailField(max_length=254, error_messages={"required": "Type your e-mail address."})
    name = forms.CharField(max_length=200, required=False)
    password = forms.CharField(max_length=4096, strip=False, error_messages={"required": "Choose a password."})
    again = forms.CharField(
        max_length=4096, strip=False, error_messages={"required": "Type the password a second time."}
    )

    def clean_secret(self) -> str:
        secret = str(self.cleaned_data["secret"])
        if not is_set_up_secret(secret):
            raise forms.ValidationError("That is not the secret that the server has printed on its console.")
        return secret

    def clean_password(self) -> str:
        password, typed = str(self.cleaned_data["password"]), self.cleaned_data
        try:
            check_password_choice(
                password=password, user=User(email=typed.get("email", ""), name=typed.get("name", ""))
            )
        except PasswordRefused as error:
            raise forms.ValidationError(str(error)) from error
        return password

    def clean_again(self) -> str:
        again = str(self.cleaned_data["again"])
        if again != self.data.get("password"):
            raise forms.ValidationError("Type the password twice, the same each time.")
        return again


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
        return _page(request, form, status=400)
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
        return _page(request, form, error=str(error), status=400)
    except AlreadySetUp as error:
        raise Http404 from error
    login(request, member.user, backend=BACKEND)
    request.session["is_new"] = True  # pages on the way lead back to the first steps, as long as this session lasts
    return redirect("first-steps")


def _page(
    request: HttpRequest,
    form: SetUpForm | None = None,
    *,
    error: str = "",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The form as it was typed, but for the passwords. The secret stays if it is the right one."""
    typed = {name: request.POST.get(name, "")[:254] for name in ("owner_name", "email", "name")}
    if form is not None and "secret" not in form.errors:
        typed["secret"] = form.cleaned_data["secret"]
    wrong = {name: errors[0] for name, errors in form.errors.items()} if form is not None else {}
    first = next((name for name in SetUpForm.base_fields if name in wrong), "secret")
    context = {"error": error, "typed": typed, "wrong": wrong, "first": first}
    response = render(request, "set_up/set_up.html", context, status=status)
    for name, text in (headers or {}).items():
        response[name] = text
    return response
