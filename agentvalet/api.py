"""How the agent API reads JSON and answers errors: one parser, one envelope."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from agents.errors import ApiError
from agents.http import stamped
from agents.strict_json import JSONRefused, read_json
from agentvalet.errors import envelope


class StrictJSONParser(BaseParser):
    """Reads bodies up to AGENTVALET_MAX_REQUEST_BYTES, strictly."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read(settings.MAX_REQUEST_BYTES + 1)
        if len(body) > settings.MAX_REQUEST_BYTES:
            raise ApiError(413, f"The body is larger than {settings.MAX_REQUEST_BYTES} bytes.", code="body_too_large")
        try:
            return read_json(body)
        except JSONRefused as error:
            raise ApiError(400, str(error), code="invalid_json") from error


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every refusal of the API in one envelope; anything unforeseen goes on to `agentvalet.errors.server_error`."""
    request = stamped(context["request"])
    if isinstance(error, exceptions.ValidationError):
        error = ApiError(400, _first_sentence(error.detail), code="invalid_request")
    elif isinstance(error, exceptions.UnsupportedMediaType):
        error = ApiError(415, "Send the body as application/json.", code=error.default_code)
    elif not isinstance(error, ApiError):
        answer = drf_exception_handler(error, context)
        if answer is None:
            return None
        headers = {name: answer[name] for name in ("Retry-After", "WWW-Authenticate", "Allow") if name in answer}
        error = ApiError(
            answer.status_code,
            str(getattr(error, "detail", "Not found.")),
            code=str(getattr(error, "default_code", "not_found")),
            headers=headers,
        )
    body = envelope(error.error, request_id=request.request_id, reason=error.reason, code=error.code)
    return Response(body | dict(error.extra), status=error.status_code, headers=dict(error.headers))


def _first_sentence(detail: Any, path: str = "") -> str:
    """The first complaint of a serializer, with the field it is about."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        here = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
        return _first_sentence(inner, here)
    if isinstance(detail, list):
        return _first_sentence(detail[0], path)
    return f"{path}: {detail}" if path else str(detail)
