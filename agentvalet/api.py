"""How the agent API reads JSON and answers errors: one parser, one envelope."""

import json
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from agents.errors import ApiError
from agents.http import stamped
from agentvalet.errors import envelope

MAX_DEPTH = 100


class _Refused(ValueError):
    """Says in one sentence why a body is not taken."""


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Refused("An object in the body has the same key twice.")
    return value


def _no_constant(name: str) -> None:
    raise _Refused(f"{name} is not a JSON value.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _Refused("A number in the body is too large.")
    return value


def read_json(body: bytes) -> Any:
    """The value of a JSON text (RFC 8259) with one meaning only: no key twice, no NaN, no lone surrogate, ≤ 100 deep.

    Raises:
        ValueError: one sentence that says what is wrong.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_no_twice, parse_constant=_no_constant, parse_float=_finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _Refused:
        raise
    except UnicodeEncodeError as error:
        raise _Refused("The body contains half of a surrogate pair.") from error
    except UnicodeDecodeError as error:
        raise _Refused("The body is not UTF-8.") from error
    except RecursionError as error:
        raise _Refused(f"The body nests more than {MAX_DEPTH} levels deep.") from error
    except ValueError as error:
        raise _Refused(f"The body is not valid JSON: {error}") from error
    if _depth(value) > MAX_DEPTH:
        raise _Refused(f"The body nests more than {MAX_DEPTH} levels deep.")
    return value


def _depth(value: Any) -> int:
    deepest, rest = 0, [(value, 1)]
    while rest:
        item, level = rest.pop()
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
        rest.extend((child, level + 1) for child in children)
    return deepest


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
        except ValueError as error:
            raise ApiError(400, str(error), code="invalid_json") from error


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every refusal of the API in one envelope; anything unforeseen goes on to `agentvalet.errors.server_error`."""
    request = stamped(context["request"])
    if isinstance(error, exceptions.ValidationError):
        error = ApiError(400, _first_sentence(error.detail), code="invalid_request")
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
