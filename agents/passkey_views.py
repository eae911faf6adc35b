"""Signing in with a passkey, and on /settings: the person's passkeys, and confirming who is at the screen."""

import logging
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth import login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from agents import passkeys
from agents.confirming import CONFIRM_FIRST, NotConfirmed, confirm_by_passkey, confirm_by_password
from agents.errors import ApiError
from agents.http import StampedRequest, client_address, stamped
from agents.middleware import MemberRequest
from agents.passkey_answers import PasskeyRefused
from agents.passkey_models import Passkey, Purpose
from agents.passkey_refusals import note_refusal
from agents.reauthentication import is_confirmed
from agents.settings_page import settings_answer
from agents.throttling import check_rate, first_in_a_minute, network_of
from agents.views import AnsweredFirst, next_page, record_sign_in, sign_in_page
from audit.events import Event

logger = logging.getLogger(__name__)

OPTIONS_PER_MINUTE = 30
NEEDS_SCRIPT = "Passkeys need JavaScript, and a browser that knows them."


class LabelForm(forms.Form):
    label = forms.CharField(max_length=100)


def options(json: str) -> HttpResponse:
    """WebAuthn options, for `static/js/passkey.js`."""
    return HttpResponse(json, content_type="application/json")


def refused_options(request: HttpRequest, *, who: str) -> HttpResponse | None:
    """A 429 for who (an address, a member) asks for challenges all the time: each is a row until it is used or over."""
    try:
        check_rate(key=f"passkey-options:{who}", limit=OPTIONS_PER_MINUTE, per_seconds=60, now=stamped(request).now)
    except ApiError as error:
        return HttpResponse(error.error, status=429, headers=dict(error.headers), content_type="text/plain")
    return None


# --- Signing in


@never_cache
@require_POST
def sign_in_options(request: HttpRequest) -> HttpResponse:
    """A challenge for whoever comes."""
    refused = refused_options(request, who=f"sign-in:{network_of(client_address(request))}")
    return refused or options(passkeys.begin_signing(user=None, purpose=Purpose.SIGN_IN, now=stamped(request).now))


@never_cache
@require_POST
def sign_in_with_passkey(request: HttpRequest) -> HttpResponse:
    """The device has signed: a fresh session, and on to `next`."""
    target, stamp = next_page(request), stamped(request)
    answer = request.POST.get("credential", "")
    if not answer:
        return sign_in_page(request, target, error=NEEDS_SCRIPT, status=400)
    try:
        signed = passkeys.finish_signing(user=None, purpose=Purpose.SIGN_IN, answer=answer, now=stamp.now)
        user = signed.passkey.user
        if not user.is_active:
            raise PasskeyRefused("inactive")
        with transaction.atomic():
            passkeys.note_use(signed, now=stamp.now)
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            record_sign_in(stamp, Event.MEMBER_SIGNED_IN, user, by="passkey")
    except PasskeyRefused as error:
        logger.info("refused a sign-in by passkey: %s", error.check)
        page, passkey = sign_in_page(request, target, error=str(error), status=400), error.passkey
        return AnsweredFirst(page, then=lambda: _record_failure(stamp, passkey))
    return HttpResponseRedirect(target)


def _record_failure(stamp: StampedRequest, passkey: Passkey | None) -> None:
    if passkey is not None and first_in_a_minute(key=f"passkey-sign-in-failed:{passkey.pk}", now=stamp.now):
        with transaction.atomic():
            record_sign_in(stamp, Event.MEMBER_SIGN_IN_FAILED, passkey.user, by="passkey")


# --- On /settings


@never_cache
@sensitive_post_parameters("password")
@require_POST
def confirm(request: MemberRequest) -> HttpResponse:
    """The password once more."""
    try:
        confirm_by_password(request, request.POST.get("password", ""))
    except NotConfirmed as error:
        return settings_answer(request, error=str(error), status=error.status)
    return redirect("settings")


@never_cache
@require_POST
def confirm_options(request: MemberRequest) -> HttpResponse:
    refused = refused_options(request, who=f"confirm:{request.member.user_id}")
    return refused or options(
        passkeys.begin_signing(user=request.member.user, purpose=Purpose.CONFIRM, now=request.now)
    )


@never_cache
@require_POST
def confirm_with_passkey(request: MemberRequest) -> HttpResponse:
    """One of the person's passkeys has signed."""
    answer = request.POST.get("credential", "")
    if not answer:
        return settings_answer(request, error=NEEDS_SCRIPT, status=400)
    try:
        confirm_by_passkey(request, answer)
    except NotConfirmed as error:
        return settings_answer(request, error=str(error), status=error.status)
    return redirect("settings")


@never_cache
@require_POST
def register_options(request: MemberRequest) -> HttpResponse:
    if not is_confirmed(request, now=request.now):
        return HttpResponse(CONFIRM_FIRST, status=403, content_type="text/plain")
    refused = refused_options(request, who=f"register:{request.member.user_id}")
    return refused or options(passkeys.begin_registration(user=request.member.user, now=request.now))


@never_cache
@require_POST
def register(request: MemberRequest) -> HttpResponse:
    """Keep the passkey that the device has made."""
    form = LabelForm(request.POST)
    if not is_confirmed(request, now=request.now):
        return settings_answer(request, error=CONFIRM_FIRST, status=403)
    if not request.POST.get("credential"):
        return settings_answer(request, error=NEEDS_SCRIPT, status=400)
    if not form.is_valid():
        return settings_answer(request, error="Give the passkey a name of at most 100 characters.", status=400)
    try:
        passkey = passkeys.register(
            user=request.member.user,
            answer=request.POST["credential"],
            label=form.cleaned_data["label"],
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
    except PasskeyRefused as error:
        note_refusal(
            error,
            user=request.member.user,
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
            what="register",
        )
        return settings_answer(request, error=str(error), status=400)
    messages.success(request, f"The passkey {passkey.label} is registered.")
    return redirect("settings")


@never_cache
@require_POST
def delete(request: MemberRequest, passkey_id: UUID) -> HttpResponse:
    if not is_confirmed(request, now=request.now):
        return settings_answer(request, error=CONFIRM_FIRST, status=403)
    try:
        passkeys.delete(
            user=request.member.user,
            passkey_id=passkey_id,
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
    except Passkey.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, "The passkey is deleted. Delete it on the device, too.")
    return redirect("settings")
