"""`sure`: a view that does nothing until the person at the screen has shown again who they are.

`agentvalet/urls.py` says which ones, and nothing else does. What was sent is not lost: the page that asks carries it
sealed (`agents.pending_forms`), and with the password, or a passkey's signature, beside it, it goes to where it was
going.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from agents import passkeys, pending_forms, webauthn_site
from agents.http import client_address
from agents.middleware import MemberRequest, wants_fragment
from agents.passkey_answers import PasskeyRefused
from agents.passkey_models import Purpose
from agents.passkey_refusals import note_refusal
from agents.reauthentication import WINDOW, is_confirmed, note_confirmed
from agents.throttle import NotCounted, count_try, forget_tries
from agents.views import record_sign_in
from audit.events import Event

CONFIRM_FIRST = "Confirm first that it is you."
NOT_THAT_FORM = "It waited for more than five minutes, or was not filled in here: nothing was changed."
TOO_MANY = "Too many attempts: try again in a quarter of an hour."
PASSWORD, CREDENTIAL, SEALED = "confirm_password", "confirm_credential", "confirm_form"

View = Callable[..., HttpResponse]


class NotConfirmed(Exception):
    """It may be somebody else. The text is one sentence for the page, `status` the answer's."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def confirm_by_password(request: MemberRequest, password: str) -> None:
    """The password once more. Guesses are counted with those at the sign-in. Raises NotConfirmed."""
    user, now, address = request.member.user, request.now, client_address(request)
    try:
        if count_try(address=address, email=user.email, now=now) is not None:
            raise NotConfirmed(TOO_MANY, 429)
    except NotCounted as error:
        raise NotConfirmed("Nothing can be confirmed at the moment: try again in a minute.", 503) from error
    if not user.check_password(password[:4096]):
        with transaction.atomic():
            record_sign_in(request, Event.MEMBER_SIGN_IN_FAILED, user, by="password, to confirm")
        raise NotConfirmed("That is not your password.", 400)
    forget_tries(address=address, email=user.email, now=now)
    note_confirmed(request, now=now)


def confirm_by_passkey(request: MemberRequest, answer: str) -> None:
    """One of the person's passkeys has signed. Raises NotConfirmed."""
    try:
        signed = passkeys.finish_signing(
            user=request.member.user, purpose=Purpose.CONFIRM, answer=answer, now=request.now
        )
        with transaction.atomic():
            passkeys.note_use(signed, now=request.now)
            note_confirmed(request, now=request.now)
    except PasskeyRefused as error:
        note_refusal(
            error,
            user=request.member.user,
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
            what="confirm",
        )
        raise NotConfirmed(str(error), 400) from error


def confirmation(request: MemberRequest) -> HttpResponse | None:
    """The page that asks who is there; None where that has been said, just now or with this very request.

    Then `request.POST` is what was sent in the first place.
    """
    password, answer, sealed = (request.POST.get(name) for name in (PASSWORD, CREDENTIAL, SEALED))
    try:
        form = pending_forms.unseal(request, sealed) if sealed is not None else _sent(request)
        request.POST = form  # type: ignore[assignment]  # Django's own setter asks for no more
    except pending_forms.NotThatForm:
        return _not_that_form(request)
    if is_confirmed(request, now=request.now):
        return None
    if wants_fragment(request):
        return HttpResponse(CONFIRM_FIRST, status=403, content_type="text/plain")
    try:
        if answer:
            confirm_by_passkey(request, answer)
        elif password is not None:
            confirm_by_password(request, password)
        else:
            return _page(request, sealed)
    except NotConfirmed as error:
        return _page(request, sealed, error=str(error), status=error.status)
    return None


def sure(view: View) -> View:
    """Wrap a view: its POST waits for `confirmation`. What else it answers, it answers as before."""

    @never_cache
    @sensitive_post_parameters()
    @wraps(view)
    def guarded(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        asked = confirmation(request) if request.method == "POST" else None
        return view(request, *args, **kwargs) if asked is None else asked

    guarded.is_sure = True  # type: ignore[attr-defined]  # for the test that holds the list
    return guarded


def _sent(request: MemberRequest) -> QueryDict:
    """The form without what is ours."""
    form = request.POST.copy()
    for ours in (PASSWORD, CREDENTIAL, "csrfmiddlewaretoken"):
        form.pop(ours, None)
    return form


def _page(request: MemberRequest, sealed: str | None, *, error: str = "", status: int = 200) -> HttpResponse:
    context = {
        "sealed": sealed or pending_forms.seal(request, request.POST),  # asked twice, the first one's time counts
        "has_passkey": webauthn_site.is_possible() and passkeys.has_passkey(request.member.user),
        "minutes": int(WINDOW.total_seconds() // 60),
        "error": error,
    }
    return render(request, "settings/confirm.html", context, status=status)


def _not_that_form(request: MemberRequest) -> HttpResponse:
    if wants_fragment(request):
        return HttpResponse(NOT_THAT_FORM, status=400, content_type="text/plain")
    context = {"title": "Fill it in once more", "sentence": NOT_THAT_FORM}
    return render(request, "errors/error.html", context, status=400)
