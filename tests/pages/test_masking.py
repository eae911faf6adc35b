"""Secrets in what agents send are behind words: on every page, in every shape, however long; and nothing is taken away."""

import json
import re
from collections.abc import Callable
from html import unescape
from time import thread_time

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from agents.masking import Secret, in_address, in_form, without
from agents.secret_names import hides, is_secret
from approvals.graphql_secrets import MOST, in_graphql
from approvals.json_secrets import in_json
from approvals.models import ApprovalRequest
from approvals.payload import MOST_LINES, PLAIN_FROM, lay_out
from approvals.payload_kinds import Kind
from approvals.payload_rows import coloured, rows_of
from approvals.summary import first_line
from audit.events import Event
from audit.models import AuditEvent
from platforms.models import Platform
from tests.pages.asks import report
from tests.pages.scene import Scene

FRAGMENT = {"X-Fragment": "1"}
LENGTH = 128 * 1024  # of a text whose masking must not take the square of it

SECRET_NAMES = [
    "password",
    "passwords",
    "newPassword",
    "password2",
    "password_confirmation",
    "passwordConfirm",
    "pass",
    "db_pass",
    "dbPass",
    "pwd",
    "user_pwd",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "secrets",
    "client_secret",
    "clientSecret",
    "token",
    "tokens",
    "accessToken",
    "access_tokens",
    "mytoken",
    "credential",
    "credentials",
    "Authorization",
    "Proxy-Authorization",
    "Set-Cookie",
    "jwt",
    "otp",
    "cvc",
    "api_key",
    "apiKey",
    "APIKey",
    "X-Api-Key",
    "apikeys",
    "secret_key",
    "secretKey",
    "private_key",
    "privatekey",
    "ssh_private_key",
    "stripe_key",
    "encryptionKey",
    "api_keys",
    "password[0]",
    "password[new]",
    "password[new][0]",
    "user.password",
    "token.id",
    "card[token]",
    "api[key]",
    "a[client_secret][b]",
    "page[token]",
]
OPEN_NAMES = [
    "key",
    "keys",
    "hotkey",
    "monkey",
    "public_key",
    "publicKey",
    "primary_key",
    "idempotency_key",
    "Idempotency-Key",
    "sort_key",
    "object_key",
    "cache_key",
    "partitionKey",
    "issue_key",
    "projectKey",
    "metadata[key]",
    "filter.key",
    "keyboard",
    "key_id",
    "access_key_id",
    "token_count",
    "max_tokens",
    "maxTokens",
    "max_completion_tokens",
    "prompt_tokens",
    "next_page_token",
    "pageToken",
    "page_token",
    "nextToken",
    "nextSyncToken",
    "tokenizer",
    "token_id",
    "bypass",
    "compass",
    "passenger",
    "pass_through",
    "password_policy",
    "secret_name",
    "secretary",
    "author",
    "authority",
    "keynote",
    "q",
]


@pytest.mark.parametrize(("names", "expected"), [(SECRET_NAMES, True), (OPEN_NAMES, False)], ids=["secret", "open"])
def test_names_are_told_apart_as_people_do(names: list[str], expected: bool) -> None:
    assert [name for name in names if is_secret(name) is not expected] == []


def test_tokens_that_are_counted_are_none() -> None:
    counted = {text: not hides("tokens", text) for text in ("100", "1234567890", "", '"100"', "tok_1", "1.5")}
    assert [text for text, is_count in counted.items() if is_count] == ["100"]
    assert hides("token", "100")


# Secrets begin with "s-" (texts) or 98765 (numbers) wherever they are; what is to stay in sight begins with "open".
BODIES = {
    "every shape": {
        "password": "s-1",
        "passwords": ["s-2", ["s-3", {"open-name": "s-4"}], 987650001],
        "pwd": 987650002.5,
        "credentials": {"open-user": "s-5", "deep": [{"x": ["s-6"]}]},
        "nested": [{"apiKey": 's-7 "\\ \u202e \n s-8'}],
        "p\u00e4ss": "open-1",
        "tokens": 100,
        "api_key": None,
        "secret": True,
        "key": "open-2",
        "after": "open-3",
    },
    "graphql": {
        "query": 'mutation($token: String = "s-1", $n: Int = 5) { a: login(password: "s-2" input: {apiKey: "s-3", tokens:'
        ' ["s-4"], pin: "open-1"}) { id } password: open_field(id: "open-2") { id } # token: "\n }',
        "variables": {"token": "s-5", "input": {"secret": {"x": "s-6"}, "n": "open-3"}},
    },
}


def made(scene: Scene, approval: ApprovalRequest, answer: str = "{}") -> ApprovalRequest:
    scene.approve(approval)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=timezone.now(), executed_at=timezone.now(), result_status=200, result_json=answer
    )
    return approval


def in_sight(html: str) -> str:
    """What is seen of the page before anything is opened, its markup gone."""
    html = re.sub(
        r'<details class="(masked|payload-long)"><summary>(.*?)</summary>.*?</details>', r"\2", html, flags=re.S
    )
    return unescape(re.sub("<[^>]+>", "", html))


def holds_secret(text: str) -> list[str]:
    return re.findall(r"s-\d|98765000\d", text)


@pytest.mark.parametrize("name", BODIES)
def test_no_secret_of_a_body_is_in_sight_and_nothing_is_taken_away(scene: Scene, admin: Client, name: str) -> None:
    text = json.dumps(BODIES[name], ensure_ascii=False)
    approval = scene.submit(text=text)
    whole, listed = (admin.get(path).content.decode() for path in (f"/approvals/{approval.pk}", "/approvals"))
    opened = re.findall(r"open-?\w+", text)
    for html in (whole, listed, admin.get(f"/m/approvals/{approval.pk}").content.decode()):
        body = html.partition('<div class="call">')[2].partition("Agent</dt>")[0]
        assert holds_secret(in_sight(body)) == []
        assert set(opened) <= set(re.findall(r"open-?\w+", in_sight(body)))
        assert set(holds_secret(text)) <= set(holds_secret(unescape(re.sub("<[^>]+>", "", body))))
    assert (
        f'<bdo dir="ltr">{escape(text)}</bdo>'.replace("\u202e", "⟦U+202E⟧") in whole
    )  # as it is sent, for whoever opens it
    assert holds_secret(listed.partition('class="card-payload"')[2].partition("</code>")[0]) == []
    assert admin.get(f"/approvals/{approval.pk}/payload.txt").content.decode() == text


def test_a_value_is_behind_a_word_that_says_how_long_it_is() -> None:
    lines = [str(line.html) for line in lay_out('{"pwd":"abc","pass":[12345,null],"tokens":9}', Kind.JSON).lines]
    assert lines[1].endswith('masked, 3 characters</summary><bdi class="json-string">&quot;abc&quot;</bdi></details>,')
    assert "masked, 5 characters</summary>" in lines[3]
    assert [("masked" in line) for line in lines] == [False, True, False, True, False, False, False, False]
    summary = first_line('{"password":"hunter2","secret":[1, "x"],"n":1}', Kind.JSON)
    assert summary == ('{"password": (masked, 7 characters), "secret": (masked, 8 characters), "n": 1}', False)


TEXTS: list[tuple[Callable[[str], object], str, str]] = [
    (in_json, '{"token":"a","x":{"password":{"b":[1]}},"y":2}', '{"token":#,"x":{"password":#},"y":2}'),
    (in_json, '{"a":"\\"token\\":","token" : \n "x" , "n":1}', '{"a":"\\"token\\":","token" : \n # , "n":1}'),
    (in_json, '{"t\\u006fken":"x","token":"a\\"b"}', '{"t\\u006fken":#,"token":#}'),
    (in_json, '{"token":null,"secret":"","pwd":true,"tokens":5}', '{"token":null,"secret":"","pwd":true,"tokens":5}'),
    (in_json, '{"token":"a","token":"b"}', '{"token":#,"token":#}'),
    (in_json, '{"token":{"a":"}","b":[', '{"token":#'),
    (in_json, '{"token":"no end', '{"token":#'),
    (in_json, '{"token":a b "c" , "d":1}', '{"token":# , "d":1}'),
    (in_json, '{"query":"{a(pwd:1)}","query":"pwd:1"}', '{"query":#,"query":"pwd:1"}'),
    (in_form, "a=1&token=x%20y&&password[0]=z&user.password=&tokens=5", "a=1&token=#&&password[0]=#&user.password=&tokens=5"),
    (in_form, "%70wd=x&b", "%70wd=#&b"),
    (in_address, "/api/token?page_token=1&access_token=x?y", "/api/token?page_token=1&access_token=#"),
    (in_graphql, '{a(token:"""x\n"y" """,pwd:$p, pass:[A,1])}', "{a(token:#,pwd:$p, pass:[A,#])}"),
    (in_graphql, "select token: 'x'", "select token: 'x'"),
]  # fmt: skip


def test_of_very_many_literals_the_rest_of_the_text_is_one() -> None:
    text = f"{{{'pwd:1,' * (MOST + 9)} note: 2}}"
    found = list(in_graphql(text))
    assert (len(found), found[-2].length, found[-1].end) == (MOST, 1, len(text))


@pytest.mark.parametrize(("find", "text", "expected"), TEXTS)
def test_where_the_secrets_stand(find: Callable[[str], list[Secret]], text: str, expected: str) -> None:
    assert re.sub(r"\(masked, \d+ characters?\)", "#", without(text, find(text))) == expected


@pytest.mark.parametrize("long", ["laid out", "as it is sent", "form"])
def test_a_long_body_is_masked_too_and_is_there_as_it_is_sent(scene: Scene, admin: Client, long: str) -> None:
    if long == "form":
        Platform.objects.update(body_kind="form")
    fill = ["x"] * MOST_LINES if long == "as it is sent" else "x" * PLAIN_FROM
    approval = scene.submit({"password": {"a": "s-1"}, "fill": fill, "token": "s-2", "end": "open"})
    call = admin.get(f"/approvals/{approval.pk}").content.decode().partition('<div class="call">')[2]
    call = call.partition("Agent</dt>")[0]
    shown = in_sight(call)
    assert (holds_secret(shown), "open" in shown, len(re.findall(r"masked, \d+ ch", shown))) == ([], True, 2)
    assert {"s-1", "s-2"} <= set(holds_secret(call))


def test_the_secrets_of_an_address_are_masked_wherever_it_stands(scene: Scene, admin: Client) -> None:
    made(scene, scene.submit(method="GET", endpoint="/api/find?access_token=s-1&q=open"))
    approval = scene.submit(method="GET", endpoint="/api/find?access_token=s-2&q=open")
    changes = admin.get(f"/approvals/{approval.pk}/changes", headers=FRAGMENT).content.decode()
    asked = AuditEvent.objects.get(approval_id=approval.pk, event=Event.APPROVAL_REQUESTED)
    report(scene, endpoint="/api/find?access_token=s-3&q=open")
    for html in (
        admin.get(f"/approvals/{approval.pk}").content.decode(),
        admin.get("/approvals").content.decode(),
        changes,
        admin.get(f"/audit/{asked.pk}").content.decode(),
        admin.get("/agent-reports").content.decode(),
    ):
        assert holds_secret(in_sight(html)) == []
        assert "find?access_token=masked, 3 characters&q=open" in in_sight(html)
    assert in_sight(changes).count("find?access_token=masked") == 2  # the one that went, and the one that came


def test_a_long_answer_is_masked_up_to_its_cut(scene: Scene, admin: Client) -> None:
    approval = made(scene, scene.submit({"n": 1}), json.dumps({"token": "s-1", "fill": "x" * PLAIN_FROM}))
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    assert (holds_secret(html), "masked, 3 characters" in html, "cut here" in html) == ([], True, True)


SHAPES = {  # what is repeated; each with many secrets, with much in one of them, or with what seems to begin one
    "numbers": '{"pwd":1,',
    "texts": '{"pwd":"",',
    "names": '"a_key":"b",',
    "deep": '{"pwd":[',
    "spaces": '"pwd":' + " " * 90,
    "escapes": '{"\\u0061b":1,',
    "queries": '{"query":"{pwd:1}",',
    "quotes": '"',
    "backslashes": '"\\',
    "arguments": 'a(pwd:"x")',
    "names alone": '"token":',
    "values alone": "x ",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_masking_takes_as_long_as_the_text_is(shape: str) -> None:
    short, most = works(shape, LENGTH // 16), 40  # times: 16 where it is linear, 256 where it is the square
    for name, work in works(shape, LENGTH).items():  # tried again, for what else runs here slows it down
        base = max(seconds(short[name]), 0.002)
        assert any(seconds(work) < most * base for _ in range(3)), name


def works(shape: str, length: int) -> dict[str, Callable[[], object]]:
    """What is done with texts of that shape: secrets are looked for, and lines are laid out."""
    body = SHAPES[shape] * (length // len(SHAPES[shape]))
    query = json.dumps({"query": "{" + body})
    texts = (body, f'{{"password":{body}', query)
    return {
        "form": lambda: (without(body, in_form(body)), *rows_of(body, Kind.FORM, coloured)),
        "graphql": lambda: list(rows_of(f"{{{body}", Kind.GRAPHQL, coloured)),
        "json": lambda: [(without(text, in_json(text)), first_line(text, Kind.JSON)) for text in texts],
        "lines": lambda: [list(rows_of(text, Kind.JSON, coloured)) for text in texts],
    }


def seconds(work: Callable[[], object]) -> float:
    begun = thread_time()  # of this thread alone
    work()
    return thread_time() - begun
