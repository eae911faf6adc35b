"""The buttons of the card **Approval delegation** on /settings."""

from collections.abc import Callable
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from agents import delegates
from agents.delegate_model import Delegate
from agents.delegates import DelegateRefused
from agents.lifecycle import NotAllowed
from agents.middleware import MemberRequest


class DelegateForm(forms.Form):
    email = forms.EmailField(max_length=254)


@never_cache
@require_POST
def add(request: MemberRequest) -> HttpResponse:
    form = DelegateForm(request.POST)

    def verb() -> str:
        if not form.is_valid():
            raise DelegateRefused("That is not an e-mail address.")
        email = form.cleaned_data["email"]
        made = delegates.add(member=request.member, email=email, request_id=request.request_id, now=request.now)
        return f"{made.email} gets a link for every call that waits from now on."

    return _press(request, verb)


@never_cache
@require_POST
def set_active(request: MemberRequest, delegate_id: UUID) -> HttpResponse:
    active = request.POST.get("active") == "1"

    def verb() -> str:
        changed = delegates.set_active(
            member=request.member,
            delegate_id=delegate_id,
            active=active,
            request_id=request.request_id,
            now=request.now,
        )
        return f"{changed.email} {'decides again' if active else 'decides nothing for now'}."

    return _press(request, verb)


@never_cache
@require_POST
def delete(request: MemberRequest, delegate_id: UUID) -> HttpResponse:
    def verb() -> str:
        gone = delegates.remove(
            member=request.member, delegate_id=delegate_id, request_id=request.request_id, now=request.now
        )
        return f"{gone.email} is no delegate any more."

    return _press(request, verb)


def _press(request: MemberRequest, verb: Callable[[], str]) -> HttpResponse:
    """Run `verb`, say what it returns or why not, and go back to the settings with a 303."""
    try:
        messages.success(request, verb())
    except NotAllowed as error:
        raise PermissionDenied from error
    except Delegate.DoesNotExist as error:
        raise Http404 from error
    except DelegateRefused as error:
        messages.warning(request, str(error))
    return HttpResponse(status=303, headers={"Location": reverse("settings")})
