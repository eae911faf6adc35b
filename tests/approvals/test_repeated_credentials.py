"""An answer that repeats the credential has it taken out, however the platform spells it."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from approvals.sending import _without
from platforms.client import PlatformResponse
from platforms.credentials import Auth

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
}  # fmt: skip


def body_of(auth: Auth, credential: str, body: str) -> str:
    answer = PlatformResponse(status=200, headers={}, body=body.encode())
    return _without(auth, credential, answer).body.decode()


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
    assert _without(Auth("bearer"), SECRET, answer) is answer
