"""The pages under /approvals: the queue, one call, and the two buttons. A script of ours asks for parts of them."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agents.middleware import MemberRequest, wants_fragment
from approvals import services
from approvals.models import ApprovalRequest, Decision, Queue
from approvals.presentation import make_card, make_cards, outcome_of, sentence_of_decision
from approvals.transitions import AlreadyDecided, StaleDigest

MOST_CARDS = 50  # of one page, oldest first; the rest moves up as these are decided
MOST_OUTCOMES = 10  # toasts of one refresh
CHANGED = "This call is not the one you were shown. Nothing was decided: read it again."
READ_ONLY = "Your role reads only. Nothing was decided."


@never_cache
@require_safe
def queue(request: MemberRequest) -> HttpResponse:
    """The queue. With `X-Fragment: 1` and `?version=` only what changed since, 204 when nothing did (one row read)."""
    owner = request.member.owner
    version = _queue_version(request)
    if _is_current(request, version):
        return _stamp(HttpResponse(status=204), request)
    pending = ApprovalRequest.objects.for_owner(owner).pending(request.now)
    running = ApprovalRequest.objects.for_owner(owner).filter(decision=Decision.APPROVED, executed_at__isnull=True)
    total = pending.count()
    rows = [*pending.order_by("created_at", "pk")[:MOST_CARDS], *running.order_by("decided_at")[:MOST_CARDS]]
    cards = make_cards(approvals=sorted(rows, key=lambda row: (row.created_at, row.pk)), now=request.now)
    context = {
        "cards": cards,
        "pending_count": total,
        "hidden_count": max(0, total - MOST_CARDS),
        "version": version,
        "now_ms": _milliseconds(request),
        "url": request.path,
        "outcomes": _outcomes(request, version),
        "may_decide": request.member.may_decide,
    }
    template = "approvals/_queue.html" if wants_fragment(request) else "approvals/queue.html"
    return _stamp(render(request, template, context), request)


@never_cache
@require_safe
def detail(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """One whole call: to decide on while it is pending, its story afterwards. Fragments as in `queue`."""
    version = _queue_version(request)
    if _is_current(request, version):
        return _stamp(HttpResponse(status=204), request)
    approval = _approval(request, approval_id)
    context = {
        "cards": [make_card(approval=approval, now=request.now)],
        "pending_count": ApprovalRequest.objects.for_owner(request.member.owner).pending(request.now).count(),
        "version": version,
        "now_ms": _milliseconds(request),
        "url": request.path,
        "outcomes": [],
        "may_decide": request.member.may_decide,
        "whole": True,
    }
    template = "approvals/_queue.html" if wants_fragment(request) else "approvals/detail.html"
    return _stamp(render(request, template, context), request)


@never_cache
@require_POST
def approve(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """Approve the call whose digest was displayed."""
    return _decide(request, approval_id, Decision.APPROVED)


@never_cache
@require_POST
def deny(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """Deny the call whose digest was displayed; an optional `reason` reaches the agent."""
    return _decide(request, approval_id, Decision.DENIED)


def _decide(request: MemberRequest, approval_id: UUID, decision: Decision) -> HttpResponse:
    digest = request.POST.get("digest", "")
    try:
        if decision == Decision.APPROVED:
            approval = services.approve(
                member=request.member,
                approval_id=approval_id,
                digest=digest,
                via="dashboard",
                now=request.now,
            )
        else:
            approval = services.deny(
                member=request.member,
                approval_id=approval_id,
                digest=digest,
                reason=request.POST.get("reason", "").replace("\0", "").strip(),
                via="dashboard",
                now=request.now,
            )
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error
    except services.NotAllowed:
        return _refused(request, _approval(request, approval_id), READ_ONLY, status=403)
    except AlreadyDecided as error:
        return _refused(request, error.approval, sentence_of_decision(error.approval), status=409)
    except StaleDigest as error:
        return _refused(request, error.approval, CHANGED, status=409)
    if not wants_fragment(request):
        done = "Approved. The call is on its way." if decision == Decision.APPROVED else "Denied. Nothing was sent."
        messages.success(request, done)
        return _see_other("approvals")
    if decision == Decision.DENIED:
        return _stamp(HttpResponse(status=204), request)
    return _card(request, approval, status=200)


def _refused(request: MemberRequest, approval: ApprovalRequest, note: str, *, status: int) -> HttpResponse:
    """Say why nothing was decided: on the card, in place; without script, on the call's own page."""
    if wants_fragment(request):
        return _card(request, approval, note=note, status=status)
    messages.warning(request, note)
    return _see_other("approval", approval_id=approval.pk)


def _see_other(name: str, **arguments: UUID) -> HttpResponse:
    """303: to be fetched with GET, whatever was sent here (RFC 9110, section 15.4.4)."""
    return HttpResponse(status=303, headers={"Location": reverse(name, kwargs=arguments)})


def _card(request: MemberRequest, approval: ApprovalRequest, *, note: str = "", status: int) -> HttpResponse:
    card = make_card(approval=approval, now=request.now, note=note)
    context = {"card": card, "may_decide": request.member.may_decide}
    response = render(request, "approvals/_card.html", context, status=status)
    response["X-Fragment"] = "card"
    return _stamp(response, request)


def _approval(request: MemberRequest, approval_id: UUID) -> ApprovalRequest:
    try:
        return ApprovalRequest.objects.for_owner(request.member.owner).get(pk=approval_id)
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error


def _queue_version(request: MemberRequest) -> int:
    """Read before the rows: a change in between is then shown again, never missed."""
    versions = Queue.objects.filter(owner_id=request.member.owner_id).values_list("version", flat=True)
    return versions.first() or 0


def _known_version(request: HttpRequest) -> int | None:
    text = request.GET.get("version", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _is_current(request: HttpRequest, version: int) -> bool:
    """Nothing to tell. A page that sees a card's time run out before the sweep does asks with `expired=1`."""
    return wants_fragment(request) and _known_version(request) == version and "expired" not in request.GET


def _outcomes(request: MemberRequest, version: int) -> list[object]:
    """Calls that failed since the version that the page shows."""
    known = _known_version(request)
    if known is None or not wants_fragment(request):
        return []
    rows = ApprovalRequest.objects.for_owner(request.member.owner).filter(
        queue_version__gt=known, queue_version__lte=version, executed_at__isnull=False
    )
    found = (outcome_of(row) for row in rows.order_by("-queue_version").defer("form")[:MOST_OUTCOMES])
    return [outcome for outcome in found if outcome is not None]


def _stamp(response: HttpResponse, request: MemberRequest) -> HttpResponse:
    """The server's time for countdowns; page and fragment share an address, so caches are told them apart."""
    response["X-Server-Time"] = str(_milliseconds(request))
    patch_vary_headers(response, ["X-Fragment", "Cookie"])
    return response


def _milliseconds(request: MemberRequest) -> int:
    return int(request.now.timestamp() * 1000)
