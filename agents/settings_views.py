"""The buttons of /settings: profile, password, where one is signed in, looks, approval lifetime, all agents at once."""

from datetime import datetime, timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from agents import lifecycle, owner_settings, profile, sign_ins
from agents.appearance import remember
from agents.http import client_address
from agents.lifecycle import NotAllowed, NotPossible
from agents.middleware import MemberRequest
from agents.models import CliToken
from agents.people_models import Session
from agents.settings_page import settings_answer, stored_key


class NameForm(forms.Form):
    name = forms.CharField(max_length=200, required=False)


class PasswordForm(forms.Form):
    password = forms.CharField(max_length=4096, strip=False)
    again = forms.CharField(max_length=4096, strip=False)


class LifetimeForm(forms.Form):
    minutes = forms.IntegerField(min_value=1, max_value=720)


class StoppedForm(forms.Form):
    stopped_at = forms.CharField(max_length=40)

    def clean_stopped_at(self) -> datetime:
        try:
            moment = datetime.fromisoformat(self.cleaned_data["stopped_at"])
        except ValueError as error:
            raise forms.ValidationError("not a time") from error
        if moment.tzinfo is None:
            raise forms.ValidationError("no time zone")
        return moment


@never_cache
@require_POST
def rename(request: MemberRequest) -> HttpResponse:
    form = NameForm(request.POST)
    if not form.is_valid():
        return settings_answer(request, error="Give a name of at most 200 characters.", status=400)
    profile.rename(
        user=request.member.user,
        name=form.cleaned_data["name"],
        request_id=request.request_id,
        address=client_address(request),
        now=request.now,
    )
    messages.success(request, "Your name is saved.")
    return redirect("settings")


@never_cache
@sensitive_post_parameters()
@require_POST
def change_password(request: MemberRequest) -> HttpResponse:
    """This browser stays signed in; all others are signed out."""
    form = PasswordForm(request.POST)
    if not form.is_valid() or form.cleaned_data["password"] != form.cleaned_data["again"]:
        return settings_answer(request, error="Type the new password twice, the same each time.", status=400)
    try:
        user = profile.change_password(
            user=request.member.user,
            password=form.cleaned_data["password"],
            keep=[stored_key(request)],
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
    except profile.PasswordRefused as error:
        return settings_answer(request, error=str(error), status=400)
    update_session_auth_hash(request, user)
    messages.success(request, "Your password is changed. Everything else that was signed in is signed out.")
    return redirect("settings")


@never_cache
@require_POST
def end_session(request: MemberRequest, session_id: str) -> HttpResponse:
    is_own = session_id == stored_key(request)
    try:
        sign_ins.end_session(
            user=request.member.user,
            session_id=session_id,
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
    except Session.DoesNotExist as error:
        raise Http404 from error
    if is_own:
        request.session.flush()
        return redirect("sign-in")
    messages.success(request, "That browser is signed out.")
    return redirect("settings")


@never_cache
@require_POST
def end_everywhere(request: MemberRequest) -> HttpResponse:
    """Here, too."""
    sign_ins.end_everywhere(
        user=request.member.user,
        request_id=request.request_id,
        address=client_address(request),
        now=request.now,
    )
    request.session.flush()
    return redirect("sign-in")


@never_cache
@require_POST
def end_command_line(request: MemberRequest, token_id: int) -> HttpResponse:
    try:
        sign_ins.end_command_line(
            user=request.member.user,
            token_id=token_id,
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
    except CliToken.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, "That command line is signed out.")
    return redirect("settings")


@never_cache
@require_POST
def set_theme(request: MemberRequest) -> HttpResponse:
    """Light, dark, or as the device says: kept by this browser alone."""
    response = redirect("settings")
    try:
        remember(response, request.POST.get("theme", ""))
    except ValueError as error:
        raise BadRequest from error
    return response


@never_cache
@require_POST
def set_approval_lifetime(request: MemberRequest) -> HttpResponse:
    form = LifetimeForm(request.POST)
    try:
        if not form.is_valid():
            raise NotPossible("Give whole minutes, from 1 to 720.")
        owner_settings.set_approval_lifetime(
            member=request.member,
            lifetime=timedelta(minutes=form.cleaned_data["minutes"]),
            request_id=request.request_id,
            now=request.now,
        )
    except NotAllowed as error:
        raise PermissionDenied from error
    except NotPossible as error:
        return settings_answer(request, error=str(error), status=400)
    messages.success(request, "Saved. Calls that wait already keep the time they were given.")
    return redirect("settings")


@never_cache
@require_POST
def suspend_all(request: MemberRequest) -> HttpResponse:
    """Stop every agent, if SUSPEND was typed."""
    if request.POST.get("word", "").strip() != "SUSPEND":
        return settings_answer(request, error="Type SUSPEND to suspend all agents. Nothing was changed.", status=400)
    try:
        stopped = lifecycle.suspend_all(
            member=request.member, reason="all agents at once", now=request.now, request_id=request.request_id
        )
    except NotAllowed as error:
        raise PermissionDenied from error
    messages.success(request, f"Suspended: {_agents(len(stopped))}. The next call of each is refused.")
    return redirect("settings")


@never_cache
@require_POST
def reactivate_all(request: MemberRequest) -> HttpResponse:
    """Take back a press of that button: for exactly the agents that it stopped."""
    form = StoppedForm(request.POST)
    if not form.is_valid():
        raise BadRequest
    try:
        again = lifecycle.reactivate_stopped(
            member=request.member,
            stopped_at=form.cleaned_data["stopped_at"],
            now=request.now,
            request_id=request.request_id,
        )
    except NotAllowed as error:
        raise PermissionDenied from error
    messages.success(request, f"Active again: {_agents(len(again))}.")
    return redirect("settings")


def _agents(count: int) -> str:
    return f"{count} agent{'' if count == 1 else 's'}"
