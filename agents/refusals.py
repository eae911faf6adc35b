"""Refusing a known agent something other than a call: on record, once a minute for each agent and reason."""

from typing import Any, TypeVar

from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from agents.authentication import caller_of, record_turned_away
from agents.errors import ApiError
from agents.http import stamped

_S = TypeVar("_S", bound=serializers.BaseSerializer[Any])


def on_record(request: Request, refusal: ApiError) -> ApiError:
    """The refusal, after it was put on record under its reason or code. Not in a transaction."""
    stamp = stamped(request)
    reason = refusal.reason or refusal.code
    record_turned_away(caller_of(request), request_id=stamp.request_id, reason=reason, now=stamp.now)
    return refusal


def read_body(request: Request, serializer: type[_S]) -> _S:
    """What the agent sent, checked. That it was no request is on record.

    Raises:
        APIException: 400, 413 or 415; see `agentvalet.api`.
    """
    try:
        data = serializer(data=request.data)
        data.is_valid(raise_exception=True)
    except APIException:
        stamp = stamped(request)
        record_turned_away(caller_of(request), request_id=stamp.request_id, reason="invalid_request", now=stamp.now)
        raise
    return data
