"""The buttons: a decision on the displayed call, by a plain form or signed with a passkey; denying several at once."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from agents.http import client_address
from agents.middleware import MemberRequest, wants_fragment
from agents.passkey_answers import PasskeyRefused
from agents.passkey_views import NEEDS_SCRIPT, refused_options
from agents.passkeys import has_passkey
from agents.reveal import reveal
from approvals import passkeys, services
from approvals.decision_refusals import note_refused_decision
from approvals.models import ApprovalRequest, Decision
from approvals.presentation import make_card, sentence_of_decision
from approvals.said import line_of, line_of_several
from approvals.step_up import PasskeyDemanded
from approvals.together import CannotDenyTogether, Denials, Shown, deny_together
from approvals.transitions import AlreadyDecided, RowTampered, StaleDigest
from approvals.views import approval_or_404, stamp

CHANGED = "This call is not the one you were shown. Nothing was decided: read it again."
TAMPERED = "This call was changed behind the server's back. Nobody can decide on it; it is on record."
DEMANDED = "This scope is decided on with a passkey only. Nothing was decided."
NOT_DENIED = "It could not be denied, nothing changed: try again."
MAYBE_DENIED = "The database did not say whether it was denied: look at it again."
READ_ONLY = "Your role reads only. Nothing was decided."
REFUSALS = (services.NotAllowed, AlreadyDecided, StaleDigest, PasskeyDemanded, PasskeyRefused)


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


@never_cache
@require_POST
def deny_selected(request: MemberRequest) -> HttpResponse:
    """Deny the `selected` calls of one agent, each as `id:digest`, for one `reason`; the queue says what came of it."""
    try:
        outcome = deny_together(
            member=request.member,
            selected=[_shown(text) for text in request.POST.getlist("selected")],
            reason=_reason(request),
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error
    except services.NotAllowed:
        messages.warning(request, READ_ONLY)
    except CannotDenyTogether as error:
        messages.warning(request, str(error))
    else:
        _say_denials(request, outcome)
    return _see_other("approvals")


def _shown(text: str) -> Shown:
    """Raises ApprovalRequest.DoesNotExist for what names no call at all."""
    approval_id, _, digest = text.partition(":")
    try:
        return Shown(UUID(approval_id), digest)
    except ValueError as error:
        raise ApprovalRequest.DoesNotExist from error


def _say_denials(request: MemberRequest, outcome: Denials) -> None:
    if len(outcome.denied) == 1:
        messages.success(request, line_of(outcome.denied[0]))
    elif outcome.denied:
        messages.success(request, line_of_several(outcome.denied))
    for refusal in outcome.refused:
        messages.warning(request, f"{_named(refusal.approval)}: {_why_not(refusal)[0]}")
    for rows, sentence in ((outcome.failed, NOT_DENIED), (outcome.unknown, MAYBE_DENIED)):
        for row in rows:
            messages.error(request, f"{_named(row)}: {sentence}")


def _named(approval: ApprovalRequest) -> str:
    return reveal(f"{approval.agent_name}, {approval.platform} {approval.scope}, {approval.digest[:12]}")


@never_cache
@require_POST
def passkey_options(request: MemberRequest, approval_id: UUID, verb: str) -> HttpResponse:
    """What the member's device has to sign for one of the two buttons, as JSON; why it cannot, as plain text."""
    decision = Decision.APPROVED if verb == "approve" else Decision.DENIED
    if refused := refused_options(request, who=f"decide:{request.member.user_id}"):
        return refused
    try:
        options = passkeys.begin(
            member=request.member,
            approval_id=approval_id,
            digest=request.POST.get("digest", ""),
            decision=decision,
            now=request.now,
        )
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error
    except REFUSALS as error:
        sentence, status = _why_not(error)
        return HttpResponse(sentence, status=status, content_type="text/plain; charset=utf-8")
    return HttpResponse(options, content_type="application/json")


def _why_not(error: Exception) -> tuple[str, int]:
    """One sentence and a status."""
    match error:
        case AlreadyDecided():
            return sentence_of_decision(error.approval), 409
        case RowTampered():
            return TAMPERED, 409
        case StaleDigest():
            return CHANGED, 409
        case PasskeyDemanded():
            return DEMANDED, 403
        case services.NotAllowed():
            return READ_ONLY, 403
    return str(error), 400  # PasskeyRefused says it


def _take(request: MemberRequest, approval_id: UUID, decision: Decision) -> ApprovalRequest:
    """The decision of the form that was sent, with a passkey or without."""
    member, now, digest = request.member, request.now, request.POST.get("digest", "")
    reason = _reason(request)
    if "credential" in request.POST:
        answer = request.POST["credential"]
        if not answer:
            raise PasskeyRefused("no_script", NEEDS_SCRIPT)
        return passkeys.decide(
            member=member,
            approval_id=approval_id,
            digest=digest,
            decision=decision,
            answer=answer,
            reason=reason,
            now=now,
        )
    if decision == Decision.APPROVED:
        return services.approve(member=member, approval_id=approval_id, digest=digest, via="dashboard", now=now)
    return services.deny(member=member, approval_id=approval_id, digest=digest, reason=reason, via="dashboard", now=now)


def _reason(request: MemberRequest) -> str:
    return request.POST.get("reason", "").replace("\0", "").strip()


def _decide(request: MemberRequest, approval_id: UUID, decision: Decision) -> HttpResponse:
    try:
        approval = _take(request, approval_id, decision)
    except ApprovalRequest.DoesNotExist as error:
        raise Http404 from error
    except REFUSALS as error:
        note_refused_decision(
            error,
            decider=request.member,
            request_id=request.request_id,
            address=client_address(request),
            now=request.now,
        )
        sentence, status = _why_not(error)
        return _refused(request, approval_or_404(request, approval_id), sentence, status=status)
    line = line_of(approval)
    if not wants_fragment(request):
        messages.success(request, line)
        return _see_other("approvals")
    if decision == Decision.APPROVED:
        return _card(request, approval, line=line, status=200)
    response = render(request, "approvals/_said.html", {"approval": approval, "line": line})
    response["X-Fragment"] = "said"  # the card goes
    return stamp(response, request)


def _refused(request: MemberRequest, approval: ApprovalRequest, note: str, *, status: int) -> HttpResponse:
    """Say why nothing was decided: on the card, in place; without script, on the call's own page."""
    if wants_fragment(request):
        return _card(request, approval, note=note, status=status)
    messages.warning(request, note)
    return _see_other("approval", approval_id=approval.pk)


def _see_other(name: str, **arguments: UUID) -> HttpResponse:
    """303: to be fetched with GET, whatever was sent here (RFC 9110, section 15.4.4)."""
    return HttpResponse(status=303, headers={"Location": reverse(name, kwargs=arguments)})


def _card(
    request: MemberRequest, approval: ApprovalRequest, *, note: str = "", line: str = "", status: int
) -> HttpResponse:
    """The card anew; with the word back (`line`) behind it, for the script to show elsewhere."""
    card = make_card(approval=approval, now=request.now, note=note)
    context = {
        "card": card,
        "may_decide": request.member.may_decide,
        "has_passkey": has_passkey(request.member.user),
    }
    response = render(request, "approvals/_card.html", context, status=status)
    if line:
        response.write(render_to_string("approvals/_said.html", {"approval": approval, "line": line}))
    response["X-Fragment"] = "card"
    return stamp(response, request)
