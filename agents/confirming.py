"""`sure`: a view that does nothing until the person at the screen has shown again who they are.

`agentvalet/urls.py` says which ones, and nothing else does. What was sent is not lost: the page that asks carries it
sealed (`agents.pending_forms`), and with the password, or a passkey's signature, beside it, it goes to where it was
going.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

from django.db import transaction
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from redis.exceptions import RedisError

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
TOO_LARGE = (
    "This form is too large to wait while you confirm that it is you: nothing was changed."
    " Confirm on the Settings page, under Passkeys, and send it again."
)
USED_BEFORE = "Nothing was changed a second time. If a secret was shown that you did not get to see, make a new one."
UNAVAILABLE = "Nothing can be confirmed at the moment: try again in a minute."
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
        raise NotConfirmed(UNAVAILABLE, 503) from error
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
        return _refusal(request, "Fill it in once more", NOT_THAT_FORM, 400)
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
        sealed = request.POST.get(SEALED) if request.method == "POST" else None
        asked = confirmation(request) if request.method == "POST" else None
        if asked is not None:
            return asked
        if sealed is None:
            return view(request, *args, **kwargs)
        return _once(request, sealed, lambda: view(request, *args, **kwargs))

    guarded.is_sure = True  # type: ignore[attr-defined]  # for the test that holds the list
    return guarded


def _once(request: MemberRequest, sealed: str, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """What the waiting form is for, the first time it comes. One that came to nothing may come once more."""
    try:
        pending_forms.use(sealed)
    except pending_forms.UsedBefore:
        return _refusal(request, "That was already done", USED_BEFORE, 409)
    except RedisError:
        return _page(request, sealed, error=UNAVAILABLE, status=503)
    is_done = False
    try:
        response = answer()
        is_done = response.status_code < 400
        return response
    finally:
        if not is_done:
            with suppress(RedisError):  # then it is to be filled in anew
                pending_forms.give_back(sealed)


def _sent(request: MemberRequest) -> QueryDict:
    """The form without what is ours."""
    form = request.POST.copy()
    for ours in (PASSWORD, CREDENTIAL, "csrfmiddlewaretoken"):
        form.pop(ours, None)
    return form


def _page(request: MemberRequest, sealed: str | None, *, error: str = "", status: int = 200) -> HttpResponse:
    try:
        sealed = sealed or pending_forms.seal(request, request.POST)  # asked twice, the first one's time counts
    except pending_forms.TooLarge:
        return _refusal(request, "Too large to wait", TOO_LARGE, 413)
    context = {
        "sealed": sealed,
        "has_passkey": webauthn_site.is_possible() and passkeys.has_passkey(request.member.user),
        "minutes": int(WINDOW.total_seconds() // 60),
        "error": error,
    }
    return render(request, "settings/confirm.html", context, status=status)


def _refusal(request: MemberRequest, title: str, sentence: str, status: int) -> HttpResponse:
    if wants_fragment(request):
        return HttpResponse(f"{title}. {sentence}", status=status, content_type="text/plain")
    return render(request, "errors/error.html", {"title": title, "sentence": sentence}, status=status)
