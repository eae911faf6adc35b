"""`/cli-auth`: a signed-in person lets a command line on the same computer in."""

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


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cli_auth(request: MemberRequest) -> HttpResponse:
    """Shows who would be signed in; on POST sends the browser to the command line's loopback port, and nowhere else."""
    form = CliLoginForm(request.POST if request.method == "POST" else request.GET)
    if not form.is_valid():
        return _refusal(request, "This link is incomplete")
    state, port = form.cleaned_data["state"], form.cleaned_data["port"]
    if request.method == "POST":
        return _confirmed(request, state, port)
    return _page(request, state, port)


def _page(request: MemberRequest, state: UUID, port: int) -> HttpResponse:
    context = {"state": state, "port": port, "member": request.member}

    # A browser holds the redirect that follows the form against form-action, too.
    @csp_update({"form-action": f"http://127.0.0.1:{port}"})
    def page(request: HttpRequest) -> HttpResponse:
        return render(request, "agents/cli_auth.html", context)

    return page(request)  # type: ignore[return-value]


def _confirmed(request: MemberRequest, state: UUID, port: int) -> HttpResponse:
    try:
        code = confirm_login(member=request.member, state=state, now=request.now)
    except LoginGone:
        return _refusal(request, "This sign-in was used before")
    return HttpResponseRedirect(f"http://127.0.0.1:{port}/callback?code={code}")


def _refusal(request: HttpRequest, title: str) -> HttpResponse:
    context = {"title": title, "sentence": "Start again from the command line, and open the link that it shows."}
    return render(request, "errors/error.html", context, status=400)
