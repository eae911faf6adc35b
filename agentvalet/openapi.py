"""The OpenAPI 3.1 description of the whole agent API: generated from the views, served at /v1/openapi.json."""

import re
from functools import cache
from http import HTTPStatus
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

Schema = dict[str, Any]

ERROR_SCHEMA: Schema = {
    "type": "object",
    "description": "The envelope of every refusal and failure.",
    "properties": {
        "error": {"type": "string", "description": "One sentence"},
        "reason": {"type": "string", "description": "Of a 403, as in scope_not_granted"},
        "code": {"type": "string", "description": "A word for programs"},
        "detail": {"type": "string", "description": "A second sentence"},
        "correlation_id": {"type": "string", "format": "uuid", "description": "Of this request, in the audit log too"},
        "report_hint": {"type": "object", "description": "What to lodge with /v1/agents/self/diagnostics"},
        "access_request_hint": {"type": "object", "description": "What to ask for with /v1/access-request"},
        "policy_id": {"type": "string", "description": "The rule that refused"},
    },
    "required": ["error", "correlation_id", "report_hint"],
}
_ERROR = {"$ref": "#/components/schemas/Error"}
_PLATFORMS_OWN = {"description": "The platform's own body; an object gains the key _agentvalet"}
_PASSES_ON = ("/v1/actions", "/v1/observe/actions")

# Code says which route or status it answers; beside the route or status that would be a repetition.
_HEADLINE = re.compile(r"^(`[A-Z]+ [^`]+`|[1-5][0-9]{2})(: |$)")

_ANY = {"429": "Too many requests: Retry-After says when to come back", "500": "A failure of ours"}
_BODY = {
    "400": "The request is not valid",
    "411": "The body comes in chunks: say how long it is",
    "413": "The body is too large",
    "415": "The body is not application/json",
}
_IDENTITY = {"401": "No valid identity: sign again, once", "403": "Refused; reason says why"}
_DIRECT = {
    "412": "The platform has no connection that could be used",
    "503": "The platform has failed too often in a row and is not called for the time being",
    "502": "The platform could not be reached, or its answer cannot be passed on; code says which",
    "504": "The platform took too long",
    "default": "The platform's own error: its status and its body",
}
_TOKEN = {"404": "There is no such token", "410": "Its time is over, or it was used"}
# What single operations answer beyond that. tests/api holds the server against this.
_SPECIAL: dict[str, dict[str, str]] = {
    "/v1/actions": _DIRECT
    | {"409": "The Idempotency-Key was used for another call, or the first call with it is still under way"},
    "/v1/observe/actions": _DIRECT,
    "/v1/approvals/{approval_id}": {"404": "There is no such approval of this agent"},
    "/v1/audit/{audit_id}/receipt": {"404": "There is no such receipt", "409": "The row behind it was changed"},
    "/v1/access-request/status/{token}": {"404": "There is no such request of this agent"},
    "/v1/agents/children": {"409": "The agent has as many children as it may", "503": "Child tokens cannot be signed"},
    "/v1/invites/bind": {"410": "The code is unknown, used or too old"},
    "/v1/agents/bind": {"410": "The code is unknown, used or too old"},
    "/v1/register/status/{token}": _TOKEN,
    "/v1/register/stream/{token}": {"404": "There is no such token"},
    "/v1/register/claim-key/{token}": _TOKEN | {"403": "Refused; reason says why", "409": "Not approved yet"},
    "/v1/revoke-request": {"409": "The agent is revoked already"},
    "/v1/revoke-request/stream/{token}": {"404": "There is no such token"},
    "/functions/v1/cli-auth": {"410": "The sign-in is used or out of date"},
    "/functions/v1/cli-register-agent": {"404": "There is no such owner"},
    "/functions/v1/revoke-agent": {"404": "There is no such agent"},
}


class Operation(AutoSchema):
    """Names an operation by what it is: post_v1_actions."""

    def get_operation_id(self) -> str:
        return re.sub(r"[^a-z0-9]+", "_", f"{self.method}_{self.path}".lower()).strip("_")


class AgentBearer(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How agents say who they are."""

    target_class = "agents.authentication.AssertionAuthentication"
    name = "agent"

    def get_security_definition(self, auto_schema: AutoSchema) -> Schema:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An RS256 assertion with agent_id, owner_id, iat and exp (at most 300 s), "
            "or the token of a child agent.",
        }


def complete(result: Schema, **_: Any) -> Schema:
    """A drf-spectacular hook: what every operation can answer, so that no view has to repeat it."""
    schemas = result["components"]["schemas"]
    schemas.pop("ErrorOutput", None)
    schemas["Error"] = ERROR_SCHEMA
    for path, operations in result["paths"].items():
        for operation in operations.values():
            _complete_answers(path, operation, schemas)
            operation["description"] = _sentence(operation.get("description", ""))
    _mend(result)
    return result


def _complete_answers(path: str, operation: Schema, schemas: Schema) -> None:
    common = dict(_ANY)
    if "requestBody" in operation:
        common |= _BODY
    if any(operation.get("security", [])):
        common |= _IDENTITY
    common |= _SPECIAL.get(path, {})
    answers: Schema = operation["responses"]
    content: Schema = {"application/json": {"schema": _ERROR}}
    if path in _PASSES_ON:
        content = {"application/json": {"schema": {"anyOf": [_ERROR, _PLATFORMS_OWN]}}, "text/plain": {}}
    for status, description in common.items():
        answers.setdefault(status, {})["description"] = description
    for status, answer in answers.items():
        if not status.startswith(("2", "3")):
            answer["content"] = content
        said = answer.get("description") or _sentence(_described(answer, schemas))
        answer["description"] = said or HTTPStatus(int(status)).phrase
    operation["responses"] = dict(sorted(answers.items()))


def _sentence(text: str) -> str:
    text = _HEADLINE.sub("", text)
    return text[:1].upper() + text[1:]


def _described(answer: Schema, schemas: Schema) -> str:
    reference = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    return str(schemas.get(reference.rpartition("/")[2], {}).get("description", ""))


def _mend(node: Any) -> None:
    """drf-spectacular writes "anything, or null" as a oneOf, which null then fails for matching both."""
    if isinstance(node, dict):
        if node.get("oneOf") == [{}, {"type": "null"}]:
            del node["oneOf"]
        for value in node.values():
            _mend(value)
    elif isinstance(node, list):
        for value in node:
            _mend(value)


@cache
def description() -> Schema:
    """The document. It depends on code and settings only."""
    document: Schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return document


class OpenApiView(APIView):
    """This document."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(responses={200: dict}, auth=[])
    def get(self, request: Request) -> Response:
        return Response(description())
