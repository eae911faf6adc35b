"""What came of a call, as the answer of the agent API: the platform's own, or why there is none."""

from collections.abc import Mapping

from django.http import HttpResponse

from agents.errors import ApiError
from approvals.envelope import NotJSON, parse_json, success, upstream_error
from approvals.idempotency import KeyRefused, OutcomeUnknown
from approvals.refusals import ApprovalRequired, CredentialRefused
from approvals.sending import CannotSend
from audit.events import JSON
from platforms.bodies import BodyRefused
from platforms.client import PlatformResponse, PlatformUnreachable
from platforms.coverage import NotConnected, NotCovered
from platforms.endpoints import EndpointRefused
from platforms.leaks import SecretInRequest

FAILURES = (
    SecretInRequest,
    EndpointRefused,
    BodyRefused,
    CredentialRefused,
    NotCovered,
    NotConnected,
    ApprovalRequired,
    KeyRefused,
    OutcomeUnknown,
    PlatformUnreachable,
    CannotSend,
)

# A new grant is what is missing; where one is there, or the owner has stopped it all, asking for it leads nowhere.
_ASKING_HELPS = frozenset({"scope_not_granted", "grant_expired"})


def governed(response: PlatformResponse, meta: Mapping[str, JSON]) -> HttpResponse:
    """Of `POST /v1/actions`: 2xx as 200 with the envelope, for an upstream 202 would read as "waits for approval"."""
    if 200 <= response.status < 300:
        return HttpResponse(success(response.body, meta), content_type="application/json")
    return _platform_error(response, meta)


def observed(response: PlatformResponse, meta: Mapping[str, JSON]) -> HttpResponse:
    """Of `POST /v1/observe/actions`: status and body as they came.

    A 2xx that is not a JSON object travels as `{"data": …, "_meta": …}`: MCP hosts take nothing but objects.
    """
    if not 200 <= response.status < 300:
        return _platform_error(response, meta)
    try:
        is_object = isinstance(parse_json(response.body), dict)
    except NotJSON:
        is_object = False
    status = 200 if response.status in {204, 205} else response.status  # these two have no body
    body = response.body if is_object else success(response.body, meta)
    return HttpResponse(body, status=status, content_type="application/json")


def _platform_error(response: PlatformResponse, meta: Mapping[str, JSON]) -> HttpResponse:
    """What clients would misread as a word of ours, or follow elsewhere, becomes a 502."""
    connection = {"_agentvalet": {"connection": meta["connection"]}} if "connection" in meta else {}
    if response.status == 401:  # clients answer a 401 by sending the call again
        raise ApiError(502, "Upstream authentication failed", code="reauth_failed", extra=connection)
    if response.status < 400:  # clients follow a redirect, with their token
        raise ApiError(502, "The platform answered with a redirect", code="upstream_redirect", extra=connection)
    if response.status >= 600:
        raise ApiError(502, "The platform's answer is not HTTP", code="invalid_response", extra=connection)
    body, content_type = upstream_error(response, meta)
    answer = HttpResponse(body, status=response.status, content_type=content_type)
    if "retry-after" in response.headers:
        answer["Retry-After"] = response.headers["retry-after"]
    return answer


def failure(error: Exception, *, platform: str, scope: str) -> ApiError:
    """The answer for a call that was turned away or came to nothing (one of FAILURES)."""
    status, words, reason, code = 403, "Permission denied", "", ""
    extra: dict[str, JSON] = {"detail": str(error)}
    headers: dict[str, str] = {}
    match error:
        case SecretInRequest():
            reason, code = "denied_by_guardrail", "secret_in_request"
            extra["policy_id"] = "guardrail:leaked-secrets"
        case ApprovalRequired():
            reason, code = "denied_by_policy", "approval_required"
            extra["policy_id"] = f"grant:{error.grant_id}"
        case NotCovered():
            reason = error.reason
            if reason in _ASKING_HELPS:
                extra["access_request_hint"] = {"platform": platform, "scope": scope}
        case NotConnected():
            status, words, code = 412, "platform_not_connected", "no_credential"
        case KeyRefused():
            status, words, code, extra = 409, str(error), error.code, {}
            if error.retry_after is not None:
                headers["Retry-After"] = str(error.retry_after)
        case OutcomeUnknown():
            status, words, code = 502, "Outcome unknown", "outcome_unknown"
            extra["detail"] = (
                "The server stopped in the middle of this call: it may have reached the platform and is not sent again."
                " Look there; a call with another Idempotency-Key is a new one."
            )
        case PlatformUnreachable():
            status, words, code = (
                504 if error.code == "upstream_timeout" else 502,
                "Upstream request failed",
                error.code,
            )
        case CannotSend():
            status, words, code, extra = 502, str(error), error.reason, {}
        case BodyRefused():
            status, words, code, extra = 400, str(error), "body_refused", {}
        case _:
            code = "endpoint_refused" if isinstance(error, EndpointRefused) else "credential_refused"
            status, words, extra = 400, str(error), {}
    return ApiError(status, words, reason=reason, code=code, extra=extra, headers=headers)
