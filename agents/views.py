"""Signing in and out."""

import logging
from collections.abc import Callable
from datetime import timedelta
from math import ceil

from django import forms
from django.contrib.auth import authenticate, login, logout
from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from agents import webauthn_site
from agents.http import StampedRequest, client_address, stamped
from agents.models import User
from agents.people_record import record_for_person
from agents.throttle import NotCounted, count_try, forget_tries
from audit.events import Event, Result

logger = logging.getLogger(__name__)
WRONG = "The e-mail address or the password is not right."


class AnsweredFirst(HttpResponse):
    """A page, and what is done when it has been sent: the time of an answer tells nothing of it.

    Its length goes first. Without that it would end when the connection says so, which is after `close`.
    """

    def __init__(self, page: HttpResponse, *, then: Callable[[], None]) -> None:
        super().__init__(page.content, status=page.status_code, headers={"Content-Length": str(len(page.content))})
        self.then = then

    def close(self) -> None:
        try:
            self.then()
        except DatabaseError:
            logger.exception("a failed sign-in is not on record")
        finally:
            super().close()


class SignInForm(forms.Form):
    email = forms.EmailField(max_length=254)
    password = forms.CharField(max_length=4096, strip=False)


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """E-mail and password; on success a fresh session (django.contrib.auth.login rotates it) and on to `next`."""
    target = next_page(request)
    if request.user.is_authenticated and request.method != "POST":
        return HttpResponseRedirect(target)
    if request.method != "POST":
        return sign_in_page(request, target)
    form = SignInForm(request.POST)
    email = str(form.data.get("email", "")).strip()[:254]
    now = stamped(request).now
    address = client_address(request)
    try:
        wait = count_try(address=address, email=email, now=now)
    except NotCounted as error:
        logger.error("nobody can sign in, attempts are not counted: %s", error)
        return _not_now(request, target, email)
    if wait is not None:
        return _too_many(request, target, email, wait)
    user = authenticate(request, username=email, password=form.cleaned_data["password"]) if form.is_valid() else None
    if not isinstance(user, User):
        page = sign_in_page(request, target, email=email, error=WRONG)
        return AnsweredFirst(page, then=lambda: _record_failure(stamped(request), email))
    with transaction.atomic():
        login(request, user)
        record_sign_in(stamped(request), Event.MEMBER_SIGNED_IN, user, by="password")
    forget_tries(address=address, email=email, now=now)
    return HttpResponseRedirect(target)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Ends the session, here and for every copy of its cookie."""
    user = request.user
    with transaction.atomic():
        logout(request)
        if isinstance(user, User):
            record_for_person(
                event=Event.MEMBER_SIGNED_OUT,
                user=user,
                request_id=stamped(request).request_id,
                address=client_address(request),
                now=stamped(request).now,
            )
    return redirect("sign-in")


def sign_in_page(
    request: HttpRequest, target: str, *, email: str = "", error: str = "", status: int = 200
) -> HttpResponse:
    context = {"next": target, "email": email, "error": error, "passkeys": webauthn_site.is_possible()}
    return render(request, "agents/sign_in.html", context, status=status)


def _too_many(request: HttpRequest, target: str, email: str, wait: timedelta) -> HttpResponse:
    minutes = max(1, ceil(wait.total_seconds() / 60))
    sentence = f"Too many attempts, try again in {minutes} minute{'' if minutes == 1 else 's'}."
    response = sign_in_page(request, target, email=email, error=sentence, status=429)
    response["Retry-After"] = str(ceil(wait.total_seconds()))
    return response


def _not_now(request: HttpRequest, target: str, email: str) -> HttpResponse:
    sentence = "Nobody can sign in at the moment: try again in a minute."
    response = sign_in_page(request, target, email=email, error=sentence, status=503)
    response["Retry-After"] = "60"
    return response


def next_page(request: HttpRequest) -> str:
    """Where to go afterwards: a path of this site, or the front page."""
    target = str(request.POST.get("next") or request.GET.get("next") or "")
    ours = (
        target.startswith("/") and target.isprintable() and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    )
    return target if ours else "/"


def _record_failure(request: StampedRequest, email: str) -> None:
    user = User.objects.filter(email__iexact=email).first() if "\0" not in email else None
    if user is None:
        logger.info("sign-in failed for an unknown account from %s", client_address(request))
        return
    with transaction.atomic():
        record_sign_in(request, Event.MEMBER_SIGN_IN_FAILED, user, by="password")


def record_sign_in(request: StampedRequest, event: Event, user: User, *, by: str) -> None:
    """In the caller's transaction."""
    record_for_person(
        event=event,
        result=Result.DENIED if event == Event.MEMBER_SIGN_IN_FAILED else Result.INFO,
        user=user,
        request_id=request.request_id,
        address=client_address(request),
        now=request.now,
        metadata={"by": by},
    )
