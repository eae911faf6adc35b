"""What is answered when no view could: one sentence that says what to do next, as a page or, to agents, as JSON."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from agents.appearance import theme

API_PREFIXES = ("/v1/", "/functions/")


def envelope(error: str, *, request_id: UUID | str, reason: str = "", code: str = "") -> dict[str, Any]:
    """The body of every refusal and failure of the API."""
    body: dict[str, Any] = {"error": error}
    if reason:
        body["reason"] = reason
    if code:
        body["code"] = code
    body["correlation_id"] = str(request_id)
    body["report_hint"] = {
        "correlation_id": str(request_id),
        "narrative_template": "I tried to {action} and got {error}",
    }
    return body


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return _answer(
        request, 400, "This request cannot be read", "Go back, reload the page, and try again.", api="Bad request"
    )


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return _answer(
        request, 403, "You may not do this", "Ask an administrator of your account for the right.", api="Forbidden"
    )


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, also for what belongs to somebody else."""
    return _answer(
        request, 404, "There is nothing here", "Check the address, or go back to the approvals.", api="Not found"
    )


def length_required(request: HttpRequest) -> HttpResponse:
    """411 for a body that comes in chunks."""
    return _answer(
        request, 411, "This request does not say how long it is", "Send a Content-Length.", api="Length required"
    )


def body_too_large(request: HttpRequest) -> HttpResponse:
    """413."""
    return _answer(
        request, 413, "This is too long", "Go back, shorten what you wrote, and try again.", api="Body too large"
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """500. It may be the database that is gone, so nothing here reads anything."""
    return _answer(
        request,
        500,
        "Something went wrong on our side",
        "Try again in a minute; if it happens again, give the administrator the number below.",
        api="Internal server error",
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form that did not come from a page of ours, or came from one that is out of date."""
    return _answer(
        request,
        403,
        "This page is out of date",
        "Nothing was changed; go back, reload the page, and try again.",
        api="CSRF check failed",
    )


def _answer(request: HttpRequest, status: int, title: str, sentence: str, *, api: str) -> HttpResponse:
    correlation_id = str(getattr(request, "request_id", ""))
    if request.path.startswith(API_PREFIXES):
        code = api.lower().replace(" ", "_")
        return JsonResponse(envelope(api, request_id=correlation_id, code=code), status=status)
    context = {"title": title, "sentence": sentence, "status": status, "correlation_id": correlation_id} | theme(
        request
    )
    return HttpResponse(render_to_string("errors/error.html", context), status=status)
