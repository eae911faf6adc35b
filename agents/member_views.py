"""The page /settings/members and its buttons. Every role reads; the domain functions let admins change."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agents import members as domain
from agents.lifecycle import NotAllowed, NotPossible
from agents.mail import join_link, send_invitation
from agents.middleware import MemberRequest
from agents.models import Role
from agents.reveal import reveal


class InviteForm(forms.Form):
    email = forms.EmailField(max_length=254)
    role = forms.ChoiceField(choices=Role.choices)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=Role.choices)


@never_cache
@require_safe
def members(request: MemberRequest) -> HttpResponse:
    return _page(request)


@never_cache
@require_POST
def invite(request: MemberRequest) -> HttpResponse:
    """Mailed; where no mail can be sent the link is in the answer to this POST and nowhere else."""
    form = InviteForm(request.POST)
    if not form.is_valid():
        return _page(request, error="Give an e-mail address, and one of the roles.", status=400)

    def verb() -> HttpResponse | str:
        invited = domain.invite(
            member=request.member,
            email=form.cleaned_data["email"],
            role=Role(form.cleaned_data["role"]),
            request_id=request.request_id,
            now=request.now,
        )
        if send_invitation(invited):
            return f"An invitation is on its way to {reveal(invited.invitation.email)}."
        return _page(request, invited=invited.invitation.email, link=join_link(invited))

    return _press(request, verb)


@never_cache
@require_POST
def withdraw(request: MemberRequest, invitation_id: int) -> HttpResponse:
    def verb() -> str:
        email = domain.withdraw(
            member=request.member, invitation_id=invitation_id, request_id=request.request_id, now=request.now
        )
        return f"The invitation of {reveal(email)} is void."

    return _press(request, verb)


@never_cache
@require_POST
def change_role(request: MemberRequest, member_id: int) -> HttpResponse:
    form = RoleForm(request.POST)
    if not form.is_valid():
        return _page(request, error="Choose one of the roles.", status=400)

    def verb() -> str:
        changed = domain.change_role(
            member=request.member,
            member_id=member_id,
            role=Role(form.cleaned_data["role"]),
            request_id=request.request_id,
            now=request.now,
        )
        return f"{reveal(changed.user.email)} is {changed.get_role_display().lower()} now."

    return _press(request, verb)


@never_cache
@require_POST
def remove(request: MemberRequest, member_id: int) -> HttpResponse:
    def verb() -> HttpResponse | str:
        email = domain.remove(
            member=request.member, member_id=member_id, request_id=request.request_id, now=request.now
        )
        if email == request.member.user.email:
            request.session.flush()
            return redirect("sign-in")
        return f"{reveal(email)} is removed, and signed out."

    return _press(request, verb)


def _press(request: MemberRequest, verb: Callable[[], HttpResponse | str]) -> HttpResponse:
    try:
        said = verb()
    except NotAllowed as error:
        raise PermissionDenied from error
    except ObjectDoesNotExist as error:
        raise Http404 from error
    except NotPossible as error:
        return _page(request, error=str(error), status=400)
    if isinstance(said, HttpResponse):
        return said
    messages.success(request, said)
    return redirect("members")


def _page(
    request: MemberRequest, *, error: str = "", status: int = 200, invited: str = "", link: str = ""
) -> HttpResponse:
    owner = request.member.owner
    context = {
        "members": domain.members_of(owner),
        "invitations": domain.open_invitations_of(owner, now=request.now),
        "roles": Role.choices,
        "may_administer": request.member.may_administer,
        "error": error,
        "invited": invited,
        "link": link,
    }
    return render(request, "settings/members.html", context, status=status)
