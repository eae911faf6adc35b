"""How a platform wants the body of a call: the bytes that are made, once, of the JSON that an agent has sent.

They are made when the call is asked for, so that people decide on them and the digest covers them (docs/binding.md).
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

from django.conf import settings

from platforms.credentials import Auth
from platforms.lenient_names import OTHER_METHOD, is_read_as
from platforms.mcp import call_of
from platforms.models import BodyKind

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_NESTING = 8  # names of one field, as in a[b][0][c]
_BRACKET = re.compile(r"[\[\]]")


class BodyRefused(ValueError):
    """The platform's kind of body cannot say that; the message is one sentence that may be shown to the agent."""


def make_body(kind: str, text: str | None, *, auth: Auth, tool: str = "") -> tuple[str, str | None]:
    """Content type and body of the call that an agent asks for with this JSON text; "" and None without one.

    JSON is sent as it is. A form has its fields in the order of the text, numbers as they are written there, true and
    false as these words:

    * `form`: an object in it is a[b]=c, an array a[0]=b, as Stripe's own libraries write them.
    * `flat-form`: an array is its name repeated, as in Twilio's; there are no objects.

    For the `tool` of an MCP server it is the message that calls it, with the data as arguments.

    Raises:
        BodyRefused: a form cannot say that, or it could be read in more than one way.
    """
    if tool:
        if text is not None and not text.lstrip().startswith("{"):
            raise BodyRefused("A tool takes an object: data must be one, or absent.")
        return JSON_TYPE, call_of(tool, "{}" if text is None else text)
    if text is None:
        return "", None
    if kind == BodyKind.JSON:
        _check_members(text)
        return JSON_TYPE, text
    try:
        data = json.loads(
            text, object_pairs_hook=_pairs, parse_int=str, parse_float=str, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise BodyRefused(f"A form nests at most {MAX_NESTING} levels deep.") from None
    except json.JSONDecodeError:
        raise BodyRefused("The data is not JSON.") from None
    if not isinstance(data, dict):
        raise BodyRefused("This platform takes a form: data must be an object with the form's fields.")
    _check_names(data, auth)
    fields, length = [], 0
    for name, value in _fields(data, flat=kind == BodyKind.FLAT_FORM):
        fields.append(f"{name}={_encoded(value)}")
        length += len(fields[-1]) + 1
        if length > settings.MAX_REQUEST_BYTES:
            raise BodyRefused(f"As a form the data is larger than {settings.MAX_REQUEST_BYTES} bytes.")
    return FORM_TYPE, "&".join(fields)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BodyRefused("An object in the data has the same name twice.")
    return found


def _refuse_constant(name: str) -> None:
    raise BodyRefused(f"A form cannot carry {name}.")


def _check_members(text: str) -> None:
    """Some frameworks (Laravel) take the members of a JSON object for the fields of a form, by their exact names."""
    if OTHER_METHOD not in text.lower() and "\\u" not in text:
        return
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # nobody reads names in it
        return
    if isinstance(data, dict) and any(name.lower() == OTHER_METHOD for name in data):
        raise BodyRefused("The data cannot set _method: some servers take it for another method.")


def _check_names(data: dict[str, Any], auth: Auth) -> None:
    """Many frameworks read the fields of a form and the query's as one, and a field _method as the method to go by."""
    for name in data:
        if is_read_as(name, OTHER_METHOD):
            raise BodyRefused("A form cannot set _method: some servers take it for another method.")
        if auth.type == "query" and is_read_as(name, auth.name):
            raise BodyRefused(f"The call sets the parameter {auth.name}, which carries the credential.")


def _fields(data: dict[str, Any], *, flat: bool) -> Iterator[tuple[str, str]]:
    """Every field with its encoded name."""
    for name, value in data.items():
        yield from _of_value(_named(name), value, flat=flat, level=1)


def _of_value(name: str, value: Any, *, flat: bool, level: int) -> Iterator[tuple[str, str]]:
    if level > MAX_NESTING:
        raise BodyRefused(f"A form nests at most {MAX_NESTING} levels deep.")
    if value is None:
        raise BodyRefused("A form cannot carry null: leave the field out, or send an empty text if that unsets it.")
    if isinstance(value, bool):
        yield name, "true" if value else "false"
    elif isinstance(value, str):
        yield name, value
    elif not value:
        raise BodyRefused("A form cannot carry an empty object or array: leave the field out.")
    elif isinstance(value, dict):
        if flat:
            raise BodyRefused("This platform's forms are flat: a field is a text, a number, true, false or an array.")
        for inner, item in value.items():
            yield from _of_value(f"{name}[{_named(inner)}]", item, flat=flat, level=level + 1)
    else:
        for place, item in enumerate(value):
            if flat and isinstance(item, list):
                raise BodyRefused("This platform's forms are flat: an array in an array cannot be sent.")
            yield from _of_value(name if flat else f"{name}[{place}]", item, flat=flat, level=level + 1)


def _named(name: str) -> str:
    if not name or _BRACKET.search(name):
        raise BodyRefused("The name of a form's field is not empty and has no brackets: nest objects in data instead.")
    return _encoded(name)


def _encoded(text: str) -> str:
    """https://url.spec.whatwg.org/#urlencoded-serializing, with more characters escaped than have to be."""
    try:
        return quote_plus(text, safe="")
    except UnicodeEncodeError:
        raise BodyRefused("The data is not valid text: it contains half of a surrogate pair.") from None
