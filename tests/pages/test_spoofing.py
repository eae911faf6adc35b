"""Whatever an agent writes, in whichever field: it is shown, escaped, with what is invisible made visible."""

import json
import re
import unicodedata

import pytest
from django.test import Client
from django.utils.html import escape
from hypothesis import given
from hypothesis import strategies as st

from agents.models import Agent
from agents.reveal import reveal, reveal_html
from approvals.models import ApprovalRequest
from approvals.payload import PLAIN_FROM, lay_out
from approvals.payload_kinds import Kind
from approvals.summary import SUMMARY_LENGTH, first_line
from tests.pages.scene import Scene
from tests.pages.spoofs import HONEST, SPOOFS, Spoof

EVERY_SPOOF = pytest.mark.parametrize("spoof", SPOOFS, ids=lambda spoof: spoof.name)


def page_of(client: Client, path: str, approval: ApprovalRequest) -> str:
    response = client.get(path.format(approval.pk))
    assert response.status_code == 200
    return response.content.decode()


def in_json(text: str) -> str:
    """How a JSON string shows it: these have an escape that people know."""
    return text.replace("⟦U+0008⟧", "\\b")


def unmarked(html: str) -> str:
    """An attribute shows a code point without the span that text has around it."""
    return html.replace('<span class="codepoint">', "").replace("</span>", "")


def between(field: str, text: str) -> str:
    return f"begin-{field} {text} end-{field}"


@EVERY_SPOOF
def test_whatever_the_agent_writes_in_whichever_field(scene: Scene, admin: Client, spoof: Spoof) -> None:
    Agent.objects.filter(pk=scene.agent.pk).update(name=between("name", spoof.text))
    data = {between("key", spoof.text): 1, "text": between("value", spoof.text)}
    approval = scene.submit(data, reason=between("reason", spoof.text))
    shown = dict.fromkeys(("name", "reason"), spoof.shown) | {
        "key": in_json(spoof.shown),
        "value": in_json(spoof.shown).replace("&quot;", "\\&quot;"),
    }
    escaped = escape(json.dumps(spoof.text, ensure_ascii=False)[1:-1])  # a control character, in the text as it is sent
    for path in ("/approvals", "/approvals/{}"):
        html = page_of(admin, path, approval)
        assert spoof.hidden not in html
        for field, words in shown.items():
            places = re.findall(f"begin-{field} (.*?) end-{field}", html, re.DOTALL)
            assert places
            assert all(unmarked(words) in unmarked(place) or escaped in place for place in places), field


@EVERY_SPOOF
def test_an_error_that_a_platform_caused(scene: Scene, admin: Client, spoof: Spoof) -> None:
    approval = scene.approve(scene.submit({"n": 1}))
    scene.fail(approval, spoof.text)
    html = admin.get("/approvals?version=1", headers={"X-Fragment": "1"}).content.decode()
    assert spoof.shown in html
    assert spoof.hidden not in html


@EVERY_SPOOF
def test_a_body_that_is_not_json(spoof: Spoof) -> None:
    payload = lay_out(f"plain: {spoof.text}", Kind.TEXT)
    html = "\n".join(line.html for line in payload.lines)
    assert spoof.shown in html
    assert spoof.hidden not in html


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_is_left_alone(text: str) -> None:
    assert reveal(text) == text
    assert reveal_html(text) == f"<bdi>{text}</bdi>"


def test_keys_that_differ_in_the_invisible_are_both_seen() -> None:
    html = [line.html for line in lay_out('{"to":"a","to\\u200b":"b"}', Kind.JSON).lines]
    assert "&quot;to&quot;" in html[1]
    assert '&quot;to<span class="codepoint">⟦U+200B⟧</span>&quot;' in html[2]


def test_a_line_break_in_a_value_cannot_start_a_field() -> None:
    lines = lay_out(json.dumps({"text": 'hi"\n  "to": "boss', "to": "intern"}), Kind.JSON).lines
    assert len(lines) == 4
    assert lines[1].html.count("<br>") == 1
    assert '<span class="codepoint">\\n</span><br>  \\&quot;to\\&quot;: ' in lines[1].html


def test_numbers_order_and_repeated_keys_are_shown_as_they_are_sent() -> None:
    body = '{"z":1.0,"a":1e400,"z":12345678901234567890123,"e":[],"o":{},"t":[true,null]}'
    lines = [f"{line.indent}{_plain(line.html)}" for line in lay_out(body, Kind.JSON).lines]
    assert lines == [
        "{",
        '  "z": 1.0,',
        '  "a": 1e400,',
        '  "z": 12345678901234567890123,',
        '  "e": [],',
        '  "o": {},',
        '  "t": [',
        "    true,",
        "    null",
        "  ]",
        "}",
    ]


@pytest.mark.parametrize("depth", [30, 100, 5_000, 100_000])
def test_nesting_does_not_break_the_card(depth: int) -> None:
    payload = lay_out("[" * depth + "1" + "]" * depth, Kind.JSON)
    assert payload.length == 2 * depth + 1
    shown = "".join(line.html for line in payload.lines) or payload.text
    assert shown.count("[") == depth
    if depth == 30:
        assert payload.lines[25].indent.endswith("(level 25) ")


def test_a_cut_is_marked_on_the_closed_card_and_absent_from_the_opened_one(scene: Scene, admin: Client) -> None:
    text = "a" * 1000 + "THE END"
    html = page_of(admin, "/approvals", scene.submit({"text": text}))
    assert f"… cut, {len(json.dumps({'text': text}))} characters in all" in html
    assert html.count("THE END") == 1
    line, cut = first_line(json.dumps({"text": text}), Kind.JSON)
    assert (len(line), cut) == (SUMMARY_LENGTH, True)
    assert first_line('{"a":1}', Kind.JSON) == ('{"a": 1}', False)


def test_one_large_payload_is_complete_on_its_page(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"text": "a" * 900_000 + "THE END"})
    html = page_of(admin, "/approvals", approval)
    assert "Open the whole call to decide" in html
    assert "data-decide" not in html
    html = page_of(admin, f"/approvals/{approval.pk}", approval)
    assert "a" * 900_000 + "THE END" in html
    assert "data-decide" in html


def test_many_large_payloads_share_the_page(scene: Scene, admin: Client) -> None:
    for n in range(4):
        scene.submit({"n": n, "text": "a" * 100_000})
    response = admin.get("/approvals")
    assert len(response.content) < 400_000
    assert response.content.decode().count("Open the whole call to decide") == 3


def _plain(html: str) -> str:
    """The text of our own simple markup."""
    out, rest = "", html
    while "<" in rest:
        before, _, rest = rest.partition("<")
        out += before
        rest = rest.partition(">")[2]
    return (out + rest).replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@given(st.text())
def test_a_text_that_is_no_json_though_it_says_so_is_shown_all_the_same(text: str) -> None:
    """But for JSON's white space. Quotes and backslashes are for the examples below: they change how texts are read."""
    text = text.replace('"', "").replace("\\", "").translate(_NO_SPACE)
    payload = lay_out(text, Kind.JSON)
    shown = "".join(_plain(line.html) for line in payload.lines).replace("&#x27;", "'")
    assert shown.translate(_NO_SPACE) == reveal(text)


@pytest.mark.parametrize(
    "text",
    ['"', '"\\', '{"a', '{"a":"b\\', '"a\nb"', '"\\q"', '{"a"b}', '"a""b"', "nul", "{]}[", "a\u00a0b", '"\\"' * 9, ""],
)
def test_a_broken_json_text_is_shown_piece_by_piece(text: str) -> None:
    for payload in (lay_out(text, Kind.JSON), lay_out("[" + " " * PLAIN_FROM + text, Kind.JSON)):
        shown = _plain("".join(line.html for line in payload.lines) or payload.text)
        for piece in re.findall(r"[a-z]", text):
            assert piece in shown
        assert shown.count('"') == text.count('"')
    assert len(first_line(text, Kind.JSON)[0]) <= SUMMARY_LENGTH


_NO_SPACE = dict.fromkeys(map(ord, " \t\n\r"))


@given(st.text())
def test_what_is_revealed_holds_nothing_invisible(text: str) -> None:
    shown = reveal(text)
    assert all(character.isprintable() for character in shown)
    assert not any(unicodedata.category(character) in {"Cf", "Cc", "Cs", "Co", "Cn", "Zl", "Zp"} for character in shown)


@given(st.text(), st.text())
def test_two_texts_never_look_the_same_by_their_marks(one: str, other: str) -> None:
    assert (reveal(one) == reveal(other)) is (one == other)


PLAIN = st.text("abc 09-", max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner),
)


@given(JSON)
def test_every_json_text_is_laid_out_without_loss(value: object) -> None:
    payload = lay_out(json.dumps(value), Kind.JSON)
    assert json.loads("\n".join(_plain(line.html) for line in payload.lines)) == value


@given(st.text())
def test_a_text_in_json_is_shown_by_its_marks_and_escapes(text: str) -> None:
    [line] = lay_out(json.dumps(text), Kind.JSON).lines
    expected = reveal(text.replace("\\", "\\\\").replace('"', '\\"')) if "\n" not in text else None
    if expected is not None:
        for character, escape in (("0008", "\\b"), ("0009", "\\t"), ("000C", "\\f"), ("000D", "\\r")):
            expected = expected.replace(f"⟦U+{character}⟧", escape)
        assert _plain(line.html).replace("&#x27;", "'") == f'"{expected}"'
