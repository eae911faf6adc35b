"""The pages /platforms and /platforms/<id>: what the owner has connected, how it stands, and its scopes."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from agents.middleware import MemberRequest
from platforms import connecting
from platforms.connecting import Refused
from platforms.connection_forms import DetailsForm
from platforms.custom_form import CustomForm
from platforms.models import Platform, Scope
from platforms.pages import press
from platforms.platform_forms import PlatformForm, ScopeForm
from platforms.standing import MOST, by_category, offers, scopes_of, standings


@never_cache
@require_safe
def platforms(request: MemberRequest) -> HttpResponse:
    rows = standings(owner=request.member.owner, now=request.now)
    context = {
        "categories": by_category(rows),
        "offers": offers(),
        "is_cut": len(rows) == MOST,
        "most": MOST,
        "now": request.now,
        "may_administer": request.member.may_administer,
    }
    return render(request, "platforms/list.html", context)


@never_cache
@require_safe
def platform(request: MemberRequest, slug: str) -> HttpResponse:
    """One platform: its connections, what can be said anew of it, its scopes."""
    return _detail(request, platform_or_404(request, slug))


@never_cache
@require_POST
def settings(request: MemberRequest, slug: str) -> HttpResponse:
    found = platform_or_404(request, slug)
    form = PlatformForm.of(found, request.POST)
    if not form.is_valid():
        return _detail(request, found, form=form, status=400)

    def verb() -> str:
        connecting.change_platform(
            member=request.member, slug=slug, now=request.now, request_id=request.request_id, **form.cleaned_data
        )
        return "Saved."

    return press(request, back=page_of(slug), verb=verb)


@never_cache
@require_POST
def scope(request: MemberRequest, slug: str, scope_id: int) -> HttpResponse:
    """What one scope covers from now on."""
    found = platform_or_404(request, slug)
    try:
        row = Scope.objects.get(platform=found, pk=scope_id)
    except Scope.DoesNotExist as error:
        raise Http404 from error
    return _scope(request, found, ScopeForm(request.POST, call_style=found.call_style, scope=row), scope_id)


@never_cache
@require_POST
def add_scope(request: MemberRequest, slug: str) -> HttpResponse:
    found = platform_or_404(request, slug)
    return _scope(request, found, ScopeForm(request.POST, call_style=found.call_style), None)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def custom(request: MemberRequest) -> HttpResponse:
    """A platform that is in no catalogue: the form, and the platform without a connection."""
    if not request.member.may_administer:
        raise PermissionDenied
    form = CustomForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _custom_form(request, form)

    def verb() -> str:
        made = connecting.add_platform(
            member=request.member, definition=form.definition(), request_id=request.request_id, now=request.now
        )
        return f"{made.slug} is there. Now connect it."

    back = reverse("connect-platform", args=[form.cleaned_data["slug"]])
    return _or_form(form, lambda: press(request, back=back, verb=verb), lambda: _custom_form(request, form))


def page_of(slug: str) -> str:
    return reverse("platform", kwargs={"slug": slug})


def platform_or_404(request: MemberRequest, slug: str) -> Platform:
    try:
        return Platform.objects.for_owner(request.member.owner).get(slug=slug)
    except Platform.DoesNotExist as error:
        raise Http404 from error


def _scope(request: MemberRequest, found: Platform, form: ScopeForm, scope_id: int | None) -> HttpResponse:
    def again() -> HttpResponse:
        return _detail(request, found, scope_form=(scope_id, form), status=400)

    if not request.member.may_administer:
        raise PermissionDenied
    if not form.is_valid():
        return again()

    def verb() -> str:
        connecting.change_scope(
            member=request.member,
            slug=found.slug,
            definition=form.definition(),
            is_new=scope_id is None,
            request_id=request.request_id,
            now=request.now,
        )
        return f"{form.cleaned_data['name']} saved. It holds from the next call on."

    return _or_form(form, lambda: press(request, back=f"{page_of(found.slug)}#scopes", verb=verb), again)


def _or_form(form: Any, press_it: Callable[[], HttpResponse], again: Callable[[], HttpResponse]) -> HttpResponse:
    try:
        return press_it()
    except Refused as error:
        form.add_error(error.field, str(error))
        return again()


def _custom_form(request: MemberRequest, form: CustomForm) -> HttpResponse:
    return render(request, "platforms/custom.html", {"form": form}, status=400 if form.is_bound else 200)


def _detail(
    request: MemberRequest,
    found: Platform,
    *,
    form: PlatformForm | None = None,
    scope_form: tuple[int | None, ScopeForm] | None = None,
    status: int = 200,
) -> HttpResponse:
    """`form`, `scope_form`: what was sent and is wrong, in place of what is stored."""
    (standing,) = standings(owner=request.member.owner, now=request.now, slug=found.slug)
    which, wrong = scope_form or (0, None)
    scopes = [
        (row, wrong if row.pk == which else ScopeForm(None, call_style=found.call_style, scope=row))
        for row in scopes_of(platform=found, now=request.now)
    ]
    context = {
        "platform": found,
        "standing": standing,
        "connections": [(row, DetailsForm.of(row)) for row in standing.connections],
        "form": form or PlatformForm.of(found),
        "scopes": scopes,
        "wrong": which,
        "new_scope": wrong if wrong is not None and which is None else ScopeForm(None, call_style=found.call_style),
        "now": request.now,
        "may_administer": request.member.may_administer,
    }
    return render(request, "platforms/detail.html", context, status=status)
