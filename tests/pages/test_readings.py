"""What pages say about the shape of a call beside its whole body: readings, forms, parameters, the text as sent."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from html import unescape
from time import thread_time
from typing import Any

import pytest
from django.test import Client

from approvals.models import ApprovalRequest
from approvals.payload import PLAIN_FROM, lay_out
from approvals.payload_kinds import Kind
from approvals.readings import IN_BASE64, NOT_FOR_CERTAIN, READ_LINES, read
from platforms.models import Platform
from tests.pages.scene import Scene
from tests.pages.spoofs import SPOOFS, Spoof


def plain(html: str) -> str:
    return unescape(re.sub("<[^>]+>", "", html))


def said(body: str, *, method: str = "POST", url: str = "https://api.example/x") -> dict[str, Any] | None:
    """The reading as plain words: its title, then names and values of its facts and texts, and what it leaves out."""
    found = read(body, Kind.JSON, method=method, url=url, decode=True)
    if not found:
        return None
    [reading] = found
    texts = {
        plain(text.name): "\n".join(line.indent + plain(line.html) for line in text.payload.lines)
        for text in reading.texts
    }
    facts = [(plain(fact.name), plain(fact.value)) for fact in reading.facts]
    return {"title": reading.title, "facts": facts, "texts": texts, "rest": [plain(name) for name in reading.rest]}


def note_on(mail: str, *, decode: bool = True) -> str:
    """Why nothing is said of this message; "" if something is, or if it is not even seen as one."""
    raw = json.dumps({"raw": urlsafe_b64encode(mail.encode("latin-1")).decode()})
    return next((one.note for one in read(raw, Kind.JSON, method="POST", url="https://a.example/", decode=decode)), "")


MAIL = (
    'From: bot@acme.example\r\nTo: =?utf-8?q?J=C3=B6rg?= <j@acme.example>\r\nCc: second@acme.example, "Doe, Al" <al@acme.example>\r\n'
    "Subject: Invoice\r\nX-Note: n\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nPay.\r\n"
    "--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=i.pdf\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n"
)
RAW = urlsafe_b64encode(MAIL.encode()).decode().rstrip("=")
GITHUB = {"method": "PUT", "url": "https://api.github.com/repos/a/b/contents/docs/a%20b.txt"}
HELLO = b64encode(b"hello\nyou").decode()
PEOPLE = [
    ("To", "=?utf-8?q?J=C3=B6rg?= <j@acme.example>"),
    ("To, decoded", "Jörg <j@acme.example>"),
    ("Cc", 'second@acme.example, "Doe, Al" <al@acme.example>'),
    ("Subject", "Invoice"),
]


@pytest.mark.parametrize(
    ("body", "where", "title", "facts", "texts", "rest"),
    [
        ({"query": "mutation {\n  pay(n: 1)\n}", "variables": {"n": 1.50}, "operationName": "P", "extra": 1}, {},
         "GraphQL", [("operationName", "P")],
         {"Query": "mutation {\n  pay(n: 1)\n}", "Variables": '{\n  "n": 1.5\n}'}, ["extra"]),
        ({"query": "# {\n query Q { a }"}, {}, "GraphQL", [], {"Query": "# {\n query Q { a }"}, []),
        ({"to": ["a@x.example", "b@x.example"], "Subject": "Hi", "html": "<b>x</b>", "track": True}, {},
         "E-mail", [("to", '["a@x.example", "b@x.example"]'), ("Subject", "Hi")], {"html": "<b>x</b>"}, ["track"]),
        ({"message": {"subject": "Hi", "body": {"contentType": "Text", "content": "x"},
                      "toRecipients": [{"emailAddress": {"address": "a@x.example"}}]}, "saveToSentItems": False}, {},
         "E-mail", [("subject", "Hi"), ("toRecipients", '[{"emailAddress": {"address": "a@x.example"}}]')],
         {"body (Text)": "x"}, ["saveToSentItems"]),
        ({"personalizations": [{"to": [{"email": "a@x.example"}]}], "subject": "Hi",
          "content": [{"type": "text/plain", "value": "x"}]}, {},
         "E-mail", [("personalizations[0].to", '[{"email": "a@x.example"}]'), ("subject", "Hi")],
         {"content (text/plain)": "x"}, []),
        ({"raw": RAW, "threadId": "t"}, {}, "E-mail, decoded",
         [("From", "bot@acme.example"), *PEOPLE, ("Name", "i.pdf"), ("Type", "application/pdf"),
          ("Size", "3 bytes, no text"), ("SHA-256", sha256(b"\0\1\2").hexdigest())],
         {"text/plain": "Pay."}, ["X-Note", "MIME-Version", "Content-Type", "threadId"]),
        ({"message": "Add", "content": HELLO, "path": "README.md", "encoding": "none"}, GITHUB, "File",
         [("Name, in the address", "docs/a b.txt"), ("Does not agree: path", "README.md"),
          ("Does not agree: encoding", "none"), ("Size", "9 bytes"), ("SHA-256", sha256(b"hello\nyou").hexdigest())],
         {"Content": "hello\nyou"}, ["message", "path", "encoding"]),
        ({"filename": "a\u202etxt", "content": "data:text/plain;base64," + HELLO, "filetype": "text"}, {}, "File",
         [("Name, as the payload says it (filename)", "a⟦U+202E⟧txt"), ("Type", "text"), ("Size", "9 bytes"),
          ("SHA-256", sha256(b"hello\nyou").hexdigest())], {"Content": "hello\nyou"}, []),
    ],
)  # fmt: skip
def test_a_known_shape_is_read_and_what_is_left_out_is_named(
    body: object, where: dict[str, str], title: str, facts: list[object], texts: dict[str, str], rest: list[str]
) -> None:
    reading = said(json.dumps(body), **where)
    assert reading == {"title": title, "facts": facts, "texts": texts, "rest": rest}


@pytest.mark.parametrize(
    "body",
    [
        '{"query":"{ a }","query":"{ b }"}',
        '{"query":"{ a }","variables":{"n":1,"n":2}}',
        '{"query":"green shoes"}',
        '{"query":["{ a }"]}',
        '{"to":"#ops","subject":"Hi","text":"x"}',
        '{"to":"a@x.example","to":"b@x.example","subject":"Hi"}',
        json.dumps({"raw": "aGVsbG8"}),
        '{"filename":"a","content":"x","data":"y"}',
        '{"filename":"a","content":"%%%","encoding":"base64"}',
        '{"query":"{ a }"',
        '{"query":"{ a }",}',
        '{"query":"{ a }" "x":1}',
        '{"query":"{ a }"}]',
        '{"filename":"a","content":"\\ud800"}',
        '{"query":"{ a }","variables":' + "[" * 100_000 + "}",
        json.dumps({"query": "{ a }", **{str(n): n for n in range(200)}}),
        json.dumps({"query": "{" + "a" * PLAIN_FROM}),
        "[]",
        "",
    ],
)
def test_what_could_be_taken_in_two_ways_or_is_broken_is_not_read(body: str) -> None:
    assert said(body) is None


@pytest.mark.parametrize(
    "people",
    [
        "boss@acme.com; evil@evil.com",
        "boss@acme.com evil@evil.com",
        "<boss@acme.com> <evil@evil.com>",
        "boss@acme.com, evil@evil.com evil2@evil.com",
        "boss@acme.com <evil@evil.com>",
        "evil@evil.com<boss@acme.com>",
        "evil@@evil.com",
        "[evil@evil.com], boss@acme.com",
        "boss@acme.com (evil@evil.com)",
        '"boss@acme.com" <evil@evil.com>',
        '"boss\\" <evil@evil.com>',
        "=?utf-8?q?boss=40acme=2Ecom?= <evil@evil.com>",
        "=?utf-8?q?=3Cboss?= <evil@evil.com>",
        "=?utf-7?q?boss?= <evil@evil.com>",
        "team: boss@acme.com, evil@evil.com;",
        "boss@acme.com,",
        "boss@acme.com\r\nTo: evil@evil.com",
        "boss@acme.com\r\nResent-To: evil@evil.com",
        "boss@acme.com\rTo: evil@evil.com",
        "b\xf6ss@acme.com",
        "",
    ],
)
def test_an_address_list_that_programs_may_take_otherwise_is_not_read_out(people: str) -> None:
    assert note_on(f"From: bot@acme.example\r\nTo: {people}\r\n\r\nPay.") == NOT_FOR_CERTAIN
    assert note_on("To: boss@acme.com\r\n\r\nPay.") == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AAEC", "A"),
        ("application/pdf", "message/rfc822"),
        ("charset=utf-8", "charset=unicode_escape"),
        ("charset=utf-8", "charset=utf-7"),
        ("charset=utf-8", "charset=utf-8; charset=utf-8"),
        ("charset=utf-8", "charset=utf-8\r\nContent-Type: text/html"),
        ("mixed", "digest"),
        ("\r\n--b\r\n", "\r\n--b \r\n"),
        ("--b--", "--b"),
        ("--b--", "--b--\r\nmore"),
        ("filename=i.pdf", "filename*0=i; filename*1=.pdf"),
        ("filename=i.pdf", "filename=i.pdf; x=\\"),
        ("base64", "x-uuencode"),
    ],
)
def test_a_message_that_programs_may_take_apart_otherwise_is_not_read_out(old: str, new: str) -> None:
    assert old in MAIL
    assert (note_on(MAIL), note_on(MAIL.replace(old, new))) == ("", NOT_FOR_CERTAIN)


PART = "--b\r\n\r\nx\r\n"


@pytest.mark.parametrize(
    "mail",
    [
        "To: a@b.c\r\nContent-Type: text/plain" + ";a=b" * 9_000,
        "To: a@b.c\r\nContent-Type: text/plain" + "".join(f";a*{n}=b" for n in range(4_000)),
        "To: " + "a " * 18_000,
        "To: " + "a." * 18_000 + "@b.c",
        "To: " + "a@b.c, " * 5_000,
        "Subject: " + "=?utf-8?q?" * 3_500,
        "Subject: a" + "\r\n " * 12_000,
        "To: a@b.c\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + PART * 3_500 + "--b--",
        "To: a@b.c\r\n"
        + "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(500)),
    ],
    ids=lambda mail: mail[-12:],
)
def test_a_message_that_is_made_to_be_slow_is_given_up_before_it_is_parsed(mail: str) -> None:
    began = thread_time()
    assert note_on(mail) == NOT_FOR_CERTAIN
    assert thread_time() - began < 2  # of the processor, where Python's own parser takes up to half a minute


def test_a_list_decodes_nothing_and_leads_to_where_it_is_decoded(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"raw": RAW})
    listed, opened = (admin.get(where).content.decode() for where in ("/approvals", f"/approvals/{approval.pk}"))
    assert (IN_BASE64 in listed, "Doe, Al" in listed) == (True, False)
    assert f'<a href="/approvals/{approval.pk}">Open the whole call</a>' in listed
    assert (IN_BASE64 in opened, "Doe, Al" in opened) == (False, True)


def test_a_key_that_only_looks_like_a_known_one_is_named_as_left_out() -> None:
    reading = said(json.dumps({"to": "a@x.example", "subject": "Hi", "to\u200b": "b@x.example"}))
    assert reading is not None
    assert reading["rest"] == ["to⟦U+200B⟧"]


def test_a_long_text_within_a_reading_is_cut_and_says_so(scene: Scene, admin: Client) -> None:
    query = "{\n" + "a\n" * READ_LINES + "THE END }"
    html = admin.get(f"/approvals/{scene.submit({'query': query}).pk}").content.decode()
    reading, payload = html.partition('class="reading"')[2].split('class="payload"', 1)
    assert f"… cut here, {len(query)} characters in all" in plain(reading)
    assert ("THE END" in reading, "THE END" in payload) == (False, True)


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda spoof: spoof.name)
def test_whatever_a_reading_tells_is_revealed(scene: Scene, admin: Client, spoof: Spoof) -> None:
    scene.submit({"to": f"a@x.example {spoof.text}", spoof.text: 1, "subject": spoof.text, "text": spoof.text})
    html = admin.get("/approvals").content.decode()
    reading = html.partition('class="reading"')[2].partition('class="payload"')[0]
    assert reading.count(spoof.shown) >= 4
    assert spoof.hidden not in html


def test_a_form_is_shown_field_by_field_and_as_it_is_sent(scene: Scene, admin: Client) -> None:
    Platform.objects.update(body_kind="form")
    approval = scene.submit({"amount": 1, "to": "a\u202e&b=2\nx", "card": {"token": "tok_1"}})
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    lines = [plain(line) for line in re.findall(r'<span class="line-text">(.*?)</span></div>', html)]
    assert lines[0] == '"amount" = "1"'
    assert lines[1] == '"to" = "a⟦U+202E⟧&b=2\\nx"'
    assert lines[2] == '"card[token]" = masked, 5 characters"tok_1"'
    assert '<summary>masked, 5 characters</summary><bdi class="json-string">&quot;tok_1&quot;</bdi></details>' in html
    assert "amount=1&amp;to=a%E2%80%AE%26b%3D2%0Ax&amp;card[token]=tok_1</bdo>" in html
    summary = html.partition('class="card-payload"')[2].partition("</code>")[0]
    assert ("tok_1" in summary, "card[token]=(masked, 5 characters)" in summary) == (False, True)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("a=1&&b&=2&c=&d=%zz%ff+", ['"a" = "1"', '""', '"b"', '"" = "2"', '"c" = ""', '"d" = "%zz\ufffd "']),
        ("a=1&a=2", ['"a" = "1"', '"a" = "2"']),
    ],
)
def test_every_part_of_a_form_has_its_line(body: str, shown: list[str]) -> None:
    assert [plain(line.html) for line in lay_out(body, Kind.FORM).lines] == shown


def test_the_parameters_of_an_address_are_decoded(scene: Scene, admin: Client) -> None:
    scene.submit(method="GET", endpoint="/api/find?to=a%E2%80%AEb&q=%26x")
    html = plain(admin.get("/approvals").content.decode())
    assert '"to" = "a⟦U+202E⟧b"' in html
    assert '"q" = "&x"' in html


def test_a_text_that_is_shown_as_it_is_sent_is_shown_once(scene: Scene, admin: Client) -> None:
    approval: ApprovalRequest = scene.submit({"n": 1})
    assert admin.get(f"/approvals/{approval.pk}").content.decode().count("as they are sent") == 1
    assert lay_out("a\nb", Kind.TEXT).lines[1].html == "b"
