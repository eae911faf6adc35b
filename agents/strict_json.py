"""JSON with one meaning only (RFC 8259), and the text of what was sent, for what must reach a platform as it was."""

import json
import re
from typing import Any

MAX_DEPTH = 100
_DECODER = json.JSONDecoder()
_STRING_OR_SPACE = re.compile(r'"(?:[^"\\]|\\.)*"|[ \t\n\r]+')
_SPACE = re.compile(r"[ \t\n\r]*")


class JSONRefused(ValueError):
    """Says in one sentence why a text is not taken."""


class JSONObject(dict[str, Any]):
    """A JSON object that still has the texts of its members."""

    def __init__(self, value: dict[str, Any], text: str) -> None:
        super().__init__(value)
        self._text = text

    def source_of(self, name: str) -> str:
        """The member as it was written, without white space between its tokens and with every string spelled plainly.

        Numbers stay as they are: 1.50 is not 1.5 to everybody, and 0.1 to twenty digits is no float. Escapes in strings
        are resolved, so that nobody has to read `\\u0064elete`.
        """
        return _STRING_OR_SPACE.sub(_plain, _members(self._text)[name])


def read_json(body: bytes) -> Any:
    """The value of a JSON text: no key twice, no NaN, no number beyond a float's range, no lone surrogate, ≤ 100 deep.

    An object at the top is a `JSONObject`.

    Raises:
        JSONRefused: one sentence that says what is wrong.
    """
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_no_twice, parse_constant=_no_constant, parse_float=_finite)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except JSONRefused:
        raise
    except UnicodeEncodeError as error:
        raise JSONRefused("The body contains half of a surrogate pair.") from error
    except UnicodeDecodeError as error:
        raise JSONRefused("The body is not UTF-8.") from error
    except RecursionError as error:
        raise JSONRefused(f"The body nests more than {MAX_DEPTH} levels deep.") from error
    except ValueError as error:
        raise JSONRefused(f"The body is not valid JSON: {error}") from error
    if _depth(value) > MAX_DEPTH:
        raise JSONRefused(f"The body nests more than {MAX_DEPTH} levels deep.")
    return JSONObject(value, text) if isinstance(value, dict) else value


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JSONRefused("An object in the body has the same key twice.")
    return value


def _no_constant(name: str) -> None:
    raise JSONRefused(f"{name} is not a JSON value.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JSONRefused("A number in the body is too large.")
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


def _members(text: str) -> dict[str, str]:
    """Where each member of the top-level object stands. The text has been read as JSON before."""
    members: dict[str, str] = {}
    position = text.index("{")
    while True:
        position = _skip_space(text, position + 1)
        if text[position] == "}":
            return members
        name, position = _DECODER.raw_decode(text, position)
        start = _skip_space(text, _skip_space(text, position) + 1)
        _, position = _DECODER.raw_decode(text, start)
        members[name] = text[start:position]
        position = _skip_space(text, position)
        if text[position] == "}":
            return members


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _plain(match: re.Match[str]) -> str:
    token = match[0]
    if not token.startswith('"'):
        return ""
    return json.dumps(json.loads(token), ensure_ascii=False) if "\\" in token else token
