"""/approve: where a delegate's link leads. It is opened without a session; opening it decides nothing."""

import hmac
import secrets

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.utils.crypto import salted_hmac
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from agents.delegate_model import Delegate
from agents.errors import ApiError
from agents.http import client_address, stamped
from agents.throttling import check_rate, network_of
from approvals import services
from approvals.decision_refusals import note_refused_decision
from approvals.decision_views import CHANGED, TAMPERED
from approvals.link_tokens import VIA
from approvals.magic_links import DeadLink, follow
from approvals.models import ApprovalRequest, Decision
from approvals.presentation import make_card, sentence_of_decision
from approvals.step_up import PasskeyDemanded, is_demanded_of
from approvals.transitions import AlreadyDecided, DeciderGone, RowTampered, StaleDigest

_COOKIE = "agentvalet_link"
STEP_UP = "This is decided on with a passkey, by somebody who is signed in. Nothing was decided."
RELOAD = "This page is out of date, or the browser keeps no cookies. Nothing was decided: open the link again."


@csrf_exempt  # Without a Referer (see `_closed`) browsers send `Origin: null`, which Django refuses; see `_form_key`.
@sensitive_post_parameters("token")
@require_http_methods(["GET", "HEAD", "POST"])
def approve(request: HttpRequest) -> HttpResponse:
    """GET shows the whole call, however often and to whom; POST decides, once."""
    stamp = stamped(request)
    try:
        key = f"magic-link:{network_of(client_address(request))}"
        check_rate(key=key, limit=settings.ANONYMOUS_PER_MINUTE, per_seconds=60, now=stamp.now)
    except ApiError as error:
        return _closed(_sentence(request, error.error, status=429, headers=dict(error.headers)))
    token = (request.POST if request.method == "POST" else request.GET).get("token", "")
    try:
        approval, delegate = follow(token=token, now=stamp.now)
    except DeadLink as error:
        raise Http404 from error
    if approval.decision != Decision.PENDING:
        status = 409 if request.method == "POST" else 200
        return _closed(_sentence(request, f"{sentence_of_decision(approval)}.", status=status))
    if request.method == "POST":
        return _closed(_decide(request, approval, delegate, token))
    return _closed(_page(request, approval, delegate, token))


def _decide(request: HttpRequest, approval: ApprovalRequest, delegate: Delegate, token: str) -> HttpResponse:
    given, sent = request.COOKIES.get(_COOKIE, ""), request.POST.get("form", "")
    if not given or not hmac.compare_digest(form_key(given, token).encode(), sent.encode("utf-8", "replace")):
        return _page(request, approval, delegate, token, note=RELOAD, status=403)
    try:
        return _sentence(request, _take(request, approval, delegate))
    except (services.NotAllowed, DeciderGone) as error:
        raise Http404 from error
    except AlreadyDecided as error:
        return _sentence(request, f"{sentence_of_decision(error.approval)}.", status=409)
    except RowTampered as error:
        return _page(request, error.approval, delegate, token, note=TAMPERED, status=409)
    except StaleDigest as error:
        return _page(request, error.approval, delegate, token, note=CHANGED, status=409)
    except PasskeyDemanded as error:
        stamp = stamped(request)
        note_refused_decision(
            error, decider=delegate, request_id=stamp.request_id, address=client_address(request), now=stamp.now
        )
        return _page(request, error.approval, delegate, token, note=STEP_UP, status=403)


def _take(request: HttpRequest, approval: ApprovalRequest, delegate: Delegate) -> str:
    """What was decided, in a sentence. A form without one of the two buttons denies, and so does one with a reason."""
    digest, now = request.POST.get("digest", ""), stamped(request).now
    reason = request.POST.get("reason", "").replace("\0", "").strip()
    if request.POST.get("decision") == "approve" and not reason:
        services.approve(member=delegate, approval_id=approval.pk, digest=digest, via=VIA, now=now)
        return "Approved. The call is on its way."
    services.deny(member=delegate, approval_id=approval.pk, digest=digest, reason=reason, via=VIA, now=now)
    return "Denied. Nothing was sent."


def form_key(cookie: str, token: str) -> str:
    """What the form carries: only a page that we sent to this browser for this link has it."""
    return salted_hmac("agentvalet.magic-link-form", f"{cookie} {token}", algorithm="sha256").hexdigest()


def _page(
    request: HttpRequest,
    approval: ApprovalRequest,
    delegate: Delegate,
    token: str,
    *,
    note: str = "",
    status: int = 200,
) -> HttpResponse:
    cookie = request.COOKIES.get(_COOKIE) or secrets.token_urlsafe(24)
    card = make_card(approval=approval, now=stamped(request).now)
    context = {
        "card": card,
        "approval": approval,
        "owner": delegate.owner,
        "token": token,
        "form": form_key(cookie, token),
        "note": note,
        "for_delegate": True,
        "passkey": "" if not is_demanded_of(delegate, approval) else "scope" if card.step_up else "own",
    }
    response = render(request, "approvals/link.html", context, status=status)
    response.set_cookie(
        # Lax: with Strict, whoever opens the link from webmail for a second time would get another cookie.
        _COOKIE,
        cookie,
        max_age=3600,
        path="/approve",
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
    return response


def _sentence(
    request: HttpRequest, sentence: str, *, status: int = 200, headers: dict[str, str] | None = None
) -> HttpResponse:
    response = render(request, "approvals/link_closed.html", {"sentence": sentence}, status=status)
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def _closed(response: HttpResponse) -> HttpResponse:
    """The address holds the secret: it goes into no cache and no Referer."""
    response["Referrer-Policy"] = "no-referrer"
    patch_cache_control(response, no_store=True, private=True)
    return response
