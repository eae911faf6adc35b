"""Connecting, testing, reauthenticating, changing and disconnecting: the forms, and the buttons."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from agents.lifecycle import NotPossible
from agents.middleware import MemberRequest
from agents.reveal import reveal
from platforms import connecting
from platforms.catalogue import FieldRefused, entries
from platforms.connecting import Refused
from platforms.connection_forms import ConnectForm, CredentialForm, DetailsForm, EntryForm
from platforms.connection_tests import test_connection
from platforms.definitions import Definition
from platforms.disconnecting import disconnect, loss_of, restorable
from platforms.models import Connection, ConnectionStatus, Platform
from platforms.pages import Wrong, press
from platforms.platform_views import page_of, platform_or_404

FORM = require_http_methods(["GET", "HEAD", "POST"])


@never_cache
@FORM
def connect_entry(request: MemberRequest, entry_id: str) -> HttpResponse:
    """A platform of the catalogue, with its first connection."""
    entry = entries().get(entry_id)
    if entry is None:
        raise Http404
    _check_admin(request)
    form = EntryForm(request.POST if request.method == "POST" else None, entry=entry)
    context: dict[str, Any] = {"entry": entry, "title": entry.name, "scopes": entry.scopes}
    definition = None
    if form.is_valid():
        try:
            definition = form.definition()
        except FieldRefused as error:
            form.add_error(f"at_{error.field}", str(error))
    return _connect(request, form, definition, context)


@never_cache
@FORM
def connect(request: MemberRequest, slug: str) -> HttpResponse:
    """Another connection of a platform, or its first."""
    platform = platform_or_404(request, slug)
    _check_admin(request)
    is_first = not Connection.objects.filter(platform=platform).exists()
    initial = {"label": "Main", "is_default": True} if is_first else {}
    lost = restorable(platform=platform)
    form = ConnectForm(request.POST if request.method == "POST" else None, auth=platform.auth, initial=initial)
    agents = len({grant.agent_id for grant in lost})
    context = {
        "platform": platform,
        "entry": entries().get(slug),
        "title": platform.name,
        "lost_grants": len(lost),
        "lost_agents": agents,
    }
    return _connect(request, form, platform if form.is_valid() else None, context)


@never_cache
@require_POST
def test(request: MemberRequest, connection_id: UUID) -> HttpResponse:
    """One read-only call with the stored credential."""
    connection = _connection_or_404(request, connection_id)
    return press(request, back=page_of(connection.platform.slug), verb=lambda: _test(request, connection_id))


@never_cache
@FORM
def reauthenticate(request: MemberRequest, connection_id: UUID) -> HttpResponse:
    """Another credential for a connection, which is tested at once."""
    connection = _connection_or_404(request, connection_id)
    _check_admin(request)
    form = CredentialForm(request.POST if request.method == "POST" else None, auth=connection.platform.auth)

    def again() -> HttpResponse:
        platform = connection.platform
        context = {"form": form, "connection": connection, "platform": platform, "entry": entries().get(platform.slug)}
        return render(request, "platforms/reauth.html", context, status=400 if form.is_bound else 200)

    if not form.is_valid():
        return again()

    def verb() -> str:
        connecting.reauthenticate(
            member=request.member,
            connection_id=connection_id,
            credential=form.cleaned_data["credential"],
            request_id=request.request_id,
            now=request.now,
        )
        return _tested(request, connection_id, done="The credential is replaced.", saved="The new credential was saved")

    try:
        return press(request, back=page_of(connection.platform.slug), verb=verb)
    except Refused as error:
        form.add_error(error.field, str(error))
        return again()


@never_cache
@require_POST
def change(request: MemberRequest, connection_id: UUID) -> HttpResponse:
    connection = _connection_or_404(request, connection_id)
    form = DetailsForm(request.POST)

    def verb() -> str:
        if not form.is_valid():
            raise NotPossible("A connection needs a label of up to 200 characters, and a hint of up to 500.")
        try:
            changed = connecting.change_connection(
                member=request.member,
                connection_id=connection_id,
                label=form.cleaned_data["label"],
                details=form.details(),
                request_id=request.request_id,
                now=request.now,
            )
        except Refused as error:
            raise NotPossible(str(error)) from error
        return f"{reveal(changed.label)} saved."

    return press(request, back=page_of(connection.platform.slug), verb=verb)


@never_cache
@FORM
def take_away(request: MemberRequest, connection_id: UUID) -> HttpResponse:
    """What goes with the connection, and the button that takes it away."""
    connection = _connection_or_404(request, connection_id)
    _check_admin(request)
    if request.method != "POST":
        loss = loss_of(connection=connection, now=request.now)
        context = {"connection": connection, "platform": connection.platform, "loss": loss}
        return render(request, "platforms/disconnect.html", context)

    def verb() -> str:
        gone, loss = disconnect(
            member=request.member, connection_id=connection_id, request_id=request.request_id, now=request.now
        )
        agents = "No agent lost" if not loss.agents else f"{loss.agents} agent{'s' if loss.agents > 1 else ''} lost"
        return f"{reveal(gone.label)} is disconnected and its credential destroyed. {agents} access."

    return press(request, back=page_of(connection.platform.slug), verb=verb)


def _connect(
    request: MemberRequest, form: ConnectForm, target: Platform | Definition | None, context: dict[str, Any]
) -> HttpResponse:
    """`target` is None where the form is not sent, or wrong."""

    def again() -> HttpResponse:
        return render(request, "platforms/connect.html", context | {"form": form}, status=400 if form.is_bound else 200)

    if target is None:
        return again()

    def verb() -> str:
        made = connecting.connect(
            member=request.member,
            platform=target,
            label=form.cleaned_data["label"],
            credential=form.cleaned_data["credential"],
            details=form.details(),
            restore=form.cleaned_data["restore"],
            request_id=request.request_id,
            now=request.now,
        )
        name = made.platform.name
        return _tested(request, made.pk, done=f"{name} is connected.", saved=f"{name} was saved")

    try:
        return press(request, back=page_of(target.slug), verb=verb)
    except Refused as error:
        form.add_error(error.field, str(error))
        return again()


def _tested(request: MemberRequest, connection_id: UUID, *, done: str, saved: str) -> str:
    """What was done, and what a test says of it at once, if there is one. Raises Wrong, which does not begin with good
    news.
    """
    try:
        return f"{done} {_test(request, connection_id)}"
    except Wrong as error:
        said = str(error)
        name = saved.removesuffix(" was saved")
        raise Wrong(f"{saved}, but {said.removeprefix(f'{name} ')}") from error
    except NotPossible as error:
        return f"{done} {error}"


def _test(request: MemberRequest, connection_id: UUID) -> str:
    """Raises Wrong if the platform does not take the credential, NotPossible where that cannot be known."""
    tested = test_connection(
        member=request.member, connection_id=connection_id, request_id=request.request_id, now=request.now
    )
    if tested.status == ConnectionStatus.REAUTH_NEEDED:
        raise Wrong(tested.sentence)
    if not tested.works:
        raise NotPossible(tested.sentence)
    return reveal(tested.sentence)


def _connection_or_404(request: MemberRequest, connection_id: UUID) -> Connection:
    connections = Connection.objects.for_owner(request.member.owner).select_related("platform")
    try:
        return connections.get(pk=connection_id)
    except Connection.DoesNotExist as error:
        raise Http404 from error


def _check_admin(request: MemberRequest) -> None:
    if not request.member.may_administer:
        raise PermissionDenied
