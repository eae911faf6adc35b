"""An answer that repeats the credential has it taken out, however the platform spells it."""

import base64
import html
import json
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest

from approvals.redaction import without_credential
from platforms.client import PlatformResponse
from platforms.credentials import Auth

NOW = datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
SECRET = 'a/b+c "d" & <\u00e9>=='
SPELLINGS = {
    "as it is": SECRET,
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "URL": quote(SECRET, safe=""),
    "URL with slashes": quote(SECRET),
    "URL in small letters": quote(SECRET, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%3C", "%3c")
    .replace("%C3%A9", "%c3%a9").replace("%3E", "%3e").replace("%3D", "%3d"),
    "form": quote_plus(SECRET),
    "JSON": json.dumps(SECRET)[1:-1],
    "JSON in UTF-8": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "JSON with escaped slashes": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "HTML": html.escape(SECRET),
    "HTML by numbers": "".join(c if c.isalnum() and c.isascii() else f"&#{ord(c)};" for c in SECRET),
    "HTML by numbers in hex": "".join(c if c.isalnum() and c.isascii() else f"&#x{ord(c):X};" for c in SECRET),
    "HTML with zeros": "".join(c if c.isalnum() and c.isascii() else f"&#{ord(c):05};" for c in SECRET),
    "JSON as Go and .NET write it": "".join(c if c.isalnum() and c.isascii() else f"\\u{ord(c):04X}" for c in SECRET),
    "JSON as Rails writes it": json.dumps(SECRET)[1:-1].replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"),
    "JSON in JSON": json.dumps(json.dumps(SECRET))[3:-3],
    "base64 in a URL": quote(base64.b64encode(SECRET.encode()).decode(), safe=""),
    "base64 in JSON of .NET": base64.b64encode(SECRET.encode()).decode().replace("+", r"\u002B"),
    "base64 without its end": base64.b64encode(SECRET.encode()).decode().rstrip("="),
    "each character in its own way": SECRET.replace("/", "%2F").replace("&", "&amp;").replace("<", r"\u003c"),
}  # fmt: skip


def body_of(auth: Auth, credential: str, body: str) -> str:
    answer = PlatformResponse(status=200, headers={}, body=body.encode())
    return without_credential(auth, credential, answer, now=NOW).body.decode()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_usual_spelling_is_removed(spelling: str) -> None:
    text = SPELLINGS[spelling]
    assert body_of(Auth("query", "key"), SECRET, f"before {text} {text} after") == (
        "before [credential removed] [credential removed] after"
    )


def test_the_password_of_basic_is_removed_by_itself_and_with_its_user() -> None:
    pair = base64.b64encode(b"robot:pass/word").decode()
    answer = body_of(Auth("basic"), "robot:pass/word", f"robot, pass/word, pass%2Fword, {pair}, robot:pass/word")
    assert answer == "robot, [credential removed], [credential removed], [credential removed], [credential removed]"


def test_a_short_one_is_left_as_words_would_fall_to_it() -> None:
    assert body_of(Auth("bearer"), "token", "the token") == "the token"


def test_an_answer_that_repeats_nothing_is_the_platforms_own_to_the_byte() -> None:
    answer = PlatformResponse(status=200, headers={}, body=b'{"a":  1}\xff')
    assert without_credential(Auth("bearer"), SECRET, answer, now=NOW) is answer


@pytest.mark.parametrize(
    ("secret", "spelled"),
    [
        ("it's-a-secret!", "it&#39;s-a-secret!"),
        ("+/+/+/+/", r"\u002b/\u002B/+%2f\u002b/"),
        ("\U0001f511 to the house", r"\ud83d\uDD11 to the house"),
        ("back\\slash\\es", r"back\\slash\\es"),
        ("p&ssw<ord>123", r"p\u0026ssw\u003cord\u003e123"),
    ],
)
def test_secrets_of_every_make_are_removed(secret: str, spelled: str) -> None:
    assert body_of(Auth("bearer"), secret, f'["{spelled}"]') == '["[credential removed]"]'


def test_what_is_nearly_the_secret_stays() -> None:
    body = "it's-a-secret? it&#38;s-a-secret! t's-a-secret! its-a-secret!"
    assert body_of(Auth("bearer"), "it's-a-secret!", body) == body


@pytest.mark.parametrize(
    "body", ["%2f" * 500_000, "\\" * 1_500_000, "&#0" * 500_000, "secret" * 250_000, "it's-a-" * 200_000]
)
def test_a_hostile_answer_of_any_make_is_read_once_and_is_no_match(body: str) -> None:
    assert body_of(Auth("bearer"), "it's-a-secret!", body) == body


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        ("120", "120"),
        ("Wed, 21 Oct 2026 07:30:00 GMT", "120"),
        ("Wed, 21 Oct 2026 07:00:00 GMT", "0"),
        ("99999999", "604800"),
        ("Wed, 21 Oct 2099 07:30:00 GMT", "604800"),
        *((word, None) for word in ("", "-1", "1.5", "soon", "Bearer a", "12, 13", "1" * 40, "Wed, 99 Foo", "\u0663")),
    ],
)
def test_of_a_platforms_headers_an_agent_gets_the_wait_in_seconds(said: str, passed_on: str | None) -> None:
    answer = PlatformResponse(status=429, headers={"retry-after": said, "link": SECRET}, body=b"")
    expected = {} if passed_on is None else {"retry-after": passed_on}
    assert without_credential(Auth("bearer"), SECRET, answer, now=NOW).headers == expected
