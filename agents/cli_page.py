"""`/cli-auth`: a signed-in person lets a command line on the same computer in."""

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from csp.decorators import csp_update
from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from agents.cli import LoginGone, confirm_login
from agents.middleware import MemberRequest


class CliLoginForm(forms.Form):
    state = forms.UUIDField()
    port = forms.IntegerField(min_value=1024, max_value=65535)


def reaching_loopback(view: Callable[[MemberRequest], HttpResponse]) -> Callable[[MemberRequest], HttpResponse]:
    """Whatever page `view` answers with: its form may lead to the command line's port.

    A browser holds the redirect that follows a form against form-action, too.
    """

    @wraps(view)
    def reaching(request: MemberRequest) -> HttpResponse:
        response = view(request)
        form = _form(request)  # only now: what a page of ours has kept sealed is in request.POST by then
        if not form.is_valid():
            return response
        source = f"http://127.0.0.1:{form.cleaned_data['port']}"
        return csp_update({"form-action": source})(lambda _: response)(request)  # type: ignore[return-value]

    return reaching


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cli_auth(request: MemberRequest) -> HttpResponse:
    """Shows who would be signed in; on POST sends the browser to the command line's loopback port, and nowhere else."""
    form = _form(request)
    if not form.is_valid():
        return _refusal(request, "This link is incomplete")
    state, port = form.cleaned_data["state"], form.cleaned_data["port"]
    if request.method == "POST":
        return _confirmed(request, state, port)
    context = {"state": state, "port": port, "member": request.member}
    return render(request, "agents/cli_auth.html", context)


def _form(request: HttpRequest) -> CliLoginForm:
    return CliLoginForm(request.POST if request.method == "POST" else request.GET)


def _confirmed(request: MemberRequest, state: UUID, port: int) -> HttpResponse:
    try:
        code = confirm_login(member=request.member, state=state, now=request.now)
    except LoginGone:
        return _refusal(request, "This sign-in was used before")
    return HttpResponseRedirect(f"http://127.0.0.1:{port}/callback?code={code}")


def _refusal(request: HttpRequest, title: str) -> HttpResponse:
    context = {"title": title, "sentence": "Start again from the command line, and open the link that it shows."}
    return render(request, "errors/error.html", context, status=400)
