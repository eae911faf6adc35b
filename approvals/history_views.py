"""The pages and buttons for approvals that have ended: the history, checking an outcome, sending again."""

from datetime import date, datetime
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from agents.http import client_address
from agents.middleware import MemberRequest
from agents.reveal import reveal
from approvals import services
from approvals.history import Filters, Place, State, list_choices, list_history
from approvals.history_rows import make_rows
from approvals.models import ApprovalRequest, Finding
from approvals.outcomes import AlreadyChecked, NothingToCheck
from approvals.repeats import CannotRepeat
from platforms.pages import see_other

_LAST_YEAR = 9000  # of a filter: days are added to it


@never_cache
@require_safe
def history(request: MemberRequest) -> HttpResponse:
    """What was decided and what came of it, newest first; `before` goes on where the last page ended."""
    filters = _filters(request)
    place = _place(request.GET.get("before", ""))
    page = list_history(owner=request.member.owner, filters=filters, after=place)
    kept = {
        "state": filters.state or "",
        "agent": filters.agent_id,
        "platform": filters.platform,
        "from": filters.since or "",
        "to": filters.until or "",
    }
    query = {name: str(value) for name, value in kept.items() if value}
    older = f"{page.older.decided_at.isoformat()}_{page.older.approval_id}" if page.older else ""
    context = {
        "rows": make_rows(approvals=page.rows, now=request.now),
        "kept": kept,
        "choices": list_choices(owner=request.member.owner),
        "states": list(State),
        "is_filtered": bool(query),
        "is_first_page": place is None,
        "newest": f"?{urlencode(query)}" if query else "",
        "older": f"?{urlencode(query | {'before': older})}" if older else "",
    }
    return render(request, "approvals/history.html", context)


@never_cache
@require_POST
def check_outcome(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """Keep what the member `found` on the platform, with a `note`."""
    try:
        found = Finding(request.POST.get("found", ""))
    except ValueError:
        messages.warning(request, "Nothing was recorded: say whether the call happened or not.")
        return see_other(reverse("approval", args=[approval_id]))
    try:
        services.check_outcome(
            member=request.member,
            approval_id=approval_id,
            found=found,
            note=_plain(request.POST.get("note", "")).strip(),
            now=request.now,
        )
        messages.success(request, f"Recorded: {found.label.lower()}.")
    except services.NotAllowed as error:
        raise PermissionDenied from error
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error
    except NothingToCheck:
        messages.warning(request, "Nothing was recorded: the outcome of this call is not unknown.")
    except AlreadyChecked as error:
        messages.warning(request, _who_was_first(error.approval))
    return see_other(reverse("approval", args=[approval_id]))


@never_cache
@require_POST
def send_again(request: MemberRequest, approval_id: UUID) -> HttpResponse:
    """Make a new approval for the same call, and go to where it is decided."""
    try:
        approval, is_new = services.send_again(
            member=request.member,
            approval_id=approval_id,
            requester_address=client_address(request),
            request_id=request.request_id,
            now=request.now,
        )
    except services.NotAllowed as error:
        raise PermissionDenied from error
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error
    except CannotRepeat as error:
        messages.warning(request, str(error))
        return see_other(reverse("approval", args=[error.instead.pk if error.instead else approval_id]))
    if is_new:
        messages.success(request, "This is a new request for the same call. Nothing is sent before it is approved.")
    else:
        messages.warning(request, "The same call waits already: this is it.")
    return see_other(reverse("approval", args=[approval.pk]))


def _who_was_first(approval: ApprovalRequest) -> str:
    found = approval.get_outcome_found_display().lower()
    at = f" at {approval.outcome_checked_at:%H:%M} UTC" if approval.outcome_checked_at else ""
    return f"Already checked by {reveal(approval.outcome_checked_by)}{at}: {found}. Nothing was changed."


def _filters(request: MemberRequest) -> Filters:
    """What cannot be read is left out: the form shows what counts."""
    state = request.GET.get("state", "")
    return Filters(
        state=State(state) if state in set(State) else None,
        agent_id=_plain(request.GET.get("agent", "")),
        platform=_plain(request.GET.get("platform", "")),
        since=_day(request.GET.get("from", "")),
        until=_day(request.GET.get("to", "")),
    )


def _plain(text: str) -> str:
    return text.replace("\0", "")


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if day.year < _LAST_YEAR else None


def _place(text: str) -> Place | None:
    at, _, pk = text.partition("_")
    try:
        parsed = datetime.fromisoformat(at)
        return Place(parsed, UUID(pk)) if parsed.tzinfo else None
    except ValueError:
        return None
