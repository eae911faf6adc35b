"""The pages under /approvals: the queue, one call, long texts to download. The buttons are in `decision_views`.

A script of ours asks for parts of the pages.
"""

import re
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agents.middleware import MemberRequest, wants_fragment
from agents.passkeys import has_passkey
from approvals.call_display import body_of
from approvals.changes import changes_of
from approvals.listing import list_queue
from approvals.models import ApprovalQuerySet, ApprovalRequest, Queue
from approvals.phones import lands_on_phone_pages
from approvals.presentation import make_card, make_cards, outcome_of
from approvals.told import told_of
from notifications import outbox

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_OUTCOMES = 10  # of one refresh


@never_cache
@require_safe
def queue(request: MemberRequest, *, phone: bool = False) -> HttpResponse:
    """The queue; phones get pages of their own.

    With `X-Fragment: 1` and `?version=` only what changed since, 204 when nothing did (one row read).
    """
    if not phone and lands_on_phone_pages(request):
        return redirect("phone-approvals")
    version = _queue_version(request)
    if _is_current(request, version):
        return stamp(HttpResponse(status=204), request)
    listing = list_queue(owner=request.member.owner, now=request.now)
    context = {
        "cards": make_cards(approvals=listing.rows, now=request.now),
        "pending_count": listing.pending_count,
        "hidden_count": listing.hidden_count,
        "has_agents": listing.has_agents,
        "version": version,
        "now_ms": _milliseconds(request),
        "url": request.path,
        "outcomes": _outcomes(request, version),
        "may_decide": request.member.may_decide,
        "has_passkey": has_passkey(request.member.user),
        "phone": phone,
        "layout": "phone.html" if phone else "base.html",
        "full_url": reverse("approvals"),
    }
    template = "approvals/_queue.html" if wants_fragment(request) else "approvals/queue.html"
    return stamp(render(request, template, context), request)


@never_cache
@require_safe
def detail(request: MemberRequest, approval_id: UUID, *, phone: bool = False) -> HttpResponse:
    """One whole call: to decide on while it is pending, its story afterwards.

    Fragments as in `queue`, when this row has changed: a long call is not laid out again because others come and go.
    """
    if not phone and lands_on_phone_pages(request):
        return redirect("phone-approval", approval_id=approval_id)
    versions = _rows(request).filter(pk=approval_id).values_list("queue_version", flat=True)
    if _is_current(request, versions.first()):
        return stamp(HttpResponse(status=204), request)
    approval = approval_or_404(request, approval_id)
    context = {
        "cards": [make_card(approval=approval, now=request.now)],
        "changes": changes_of(approval, now=request.now),
        "pending_count": _rows(request).pending(request.now).count(),
        "version": approval.queue_version,
        "now_ms": _milliseconds(request),
        "url": request.path,
        "outcomes": [],
        "may_decide": request.member.may_decide,
        "has_passkey": has_passkey(request.member.user),
        "whole": True,
        "phone": phone,
        "layout": "phone.html" if phone else "base.html",
        "full_url": reverse("approval", args=[approval_id]),
    }
    template = "approvals/_queue.html" if wants_fragment(request) else "approvals/detail.html"
    return stamp(render(request, template, context), request)


@never_cache
@require_POST
def seen(request: MemberRequest) -> HttpResponse:
    """These calls (`id`, once for each) are on the member's screen: no reminder. What is not the owner's is skipped."""
    tags = [f"approval:{text}" for text in request.POST.getlist("id")[:100] if "\0" not in text]
    outbox.note_seen(member=request.member, tags=tags, now=request.now)
    return HttpResponse(status=204)


@never_cache
@require_safe
def told(request: MemberRequest) -> HttpResponse:
    """For pages that stay open: who was told of these calls (`id`, once for each). Others' are skipped."""
    ids = [UUID(text) for text in request.GET.getlist("id")[:100] if _UUID.fullmatch(text)]
    rows = _rows(request).filter(pk__in=ids).only("pk", "owner_id").order_by("pk")
    return render(request, "approvals/_told_all.html", {"all": told_of(rows, now=request.now).values()})


@never_cache
@require_safe
def changes(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """What changed against the last approved call of the same kind, for an opened card; else the call's own page."""
    approval = approval_or_404(request, approval_id)
    if not wants_fragment(request):
        return redirect(f"{reverse('approval', args=[approval_id])}#changes")
    context = {"changes": changes_of(approval, now=request.now)}
    return stamp(render(request, "approvals/_changes.html", context), request)


@never_cache
@require_safe
def payload_text(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """The exact body of a call, to be saved."""
    return _attachment(f"call-{approval_id}.txt", body_of(approval_or_404(request, approval_id)))


@never_cache
@require_safe
def answer_text(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """The whole of what the agent is told that the platform said, to be saved."""
    answers = _rows(request).filter(pk=approval_id).values_list("result_json", flat=True)
    return _attachment(f"answer-{approval_id}.txt", answers.first())


def _attachment(name: str, text: str | None) -> HttpResponse:
    """Plain text that no browser opens in place: agents and platforms wrote it. No text is a 404."""
    if text is None:
        raise Http404
    return HttpResponse(
        text.encode(errors="backslashreplace"),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _rows(request: MemberRequest) -> ApprovalQuerySet:
    return ApprovalRequest.objects.for_owner(request.member.owner)


def approval_or_404(request: MemberRequest, approval_id: UUID) -> ApprovalRequest:
    """The row without its answer, which may be long (`presentation` reads as much of it as is shown)."""
    try:
        return _rows(request).defer("result_json", "disclosure").get(pk=approval_id)
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error


def _queue_version(request: MemberRequest) -> int:
    """Read before the rows: a change in between is then shown again, never missed."""
    versions = Queue.objects.filter(owner_id=request.member.owner_id).values_list("version", flat=True)
    return versions.first() or 0


def _known_version(request: HttpRequest) -> int | None:
    text = request.GET.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _is_current(request: HttpRequest, version: int | None) -> bool:
    """Nothing to tell. A page that sees a card's time run out before the sweep does asks with `expired=1`."""
    known = _known_version(request)
    return wants_fragment(request) and known is not None and known == version and "expired" not in request.GET


def _outcomes(request: MemberRequest, version: int) -> list[object]:
    """What came of approved calls since the version that the page shows."""
    known = _known_version(request)
    if known is None or not wants_fragment(request):
        return []
    rows = (
        _rows(request)
        .filter(queue_version__gt=known, queue_version__lte=version, executed_at__isnull=False)
        .defer("form", "result_json", "disclosure")
    )
    return [outcome_of(row) for row in rows.order_by("-queue_version")[:MOST_OUTCOMES]]


def stamp(response: HttpResponse, request: MemberRequest) -> HttpResponse:
    """The server's time for countdowns; page and fragment share an address, so caches are told them apart."""
    response["X-Server-Time"] = str(_milliseconds(request))
    patch_vary_headers(response, ["X-Fragment", "Cookie"])
    return response


def _milliseconds(request: MemberRequest) -> int:
    return int(request.now.timestamp() * 1000)
