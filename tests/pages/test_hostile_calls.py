"""Calls that are made to be long, or rows that were made up: pages stand, cost little, and hide nothing."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape
from pytest_django.fixtures import Settings

from agents.models import Agent
from approvals.binding import digest_of, read_form, write_form
from approvals.listing import MOST_CARDS
from approvals.models import ApprovalRequest, Decision, Queue
from approvals.payload import MOST_LINES, PLAIN_FROM, lay_out
from approvals.payload_kinds import Kind
from approvals.stored_forms import MOST_BYTES
from tests.pages.scene import Scene

FRAGMENT = {"X-Fragment": "1"}
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_limit(settings: Settings) -> None:
    settings.MAX_PENDING = 0  # pages stand without the limit, too


def array_of(item: str, size: int) -> str:
    return f"[{','.join([item] * (size // (len(item.encode()) + 1)))}]"


BODIES: dict[str, Callable[[int], str]] = {
    "empty lists": lambda size: array_of("[]", size),
    "digits": lambda size: array_of("0", size),
    "empty strings": lambda size: array_of('""', size),
    "pairs": lambda size: "{" + ",".join(f'"{n:06}":{n}' for n in range(size // 16)) + "}",
    "marks": lambda size: json.dumps("a\u202e" * (size // 4), ensure_ascii=False),
    "mixed scripts": lambda size: json.dumps("aЖ" * (size // 3), ensure_ascii=False),
    "stacked marks": lambda size: json.dumps("e\u0301\u0301\u0301\u0301" * (size // 9), ensure_ascii=False),
    "line breaks": lambda size: json.dumps("\n" * (size // 2)),
    "one string": lambda size: json.dumps("a" * (size - 2)),
    "quotes": lambda size: json.dumps('"' * (size // 2)),
    "secrets of a query": lambda size: json.dumps({"query": f"{{{'pwd:1,' * ((size - 20) // 6)}}}"}),
}
EVERY_BODY = pytest.mark.parametrize("kind", BODIES)


def pile_up(scene: Scene, count: int, body: str, *, agent: Agent | None = None) -> list[ApprovalRequest]:
    """COUNT calls that wait, all a little different: written straight to the table, as a patient agent's would be."""
    first, agent = scene.submit({}), agent or scene.agent
    form = replace(read_form(bytes(first.form)), agent_id=agent.pk)
    rows = []
    for number in range(count):
        data = write_form(replace(form, body=body, endpoint=f"/api/{number}", url=f"https://chat.example.com/{number}"))
        row = ApprovalRequest.objects.get(pk=first.pk)
        row.pk, row.form, row.digest, row.agent_id = uuid4(), data, digest_of(data), agent.pk
        rows.append(row)
    first.delete()
    return ApprovalRequest.objects.bulk_create(rows)


def cpu_seconds(client: Client, path: str) -> tuple[float, str]:
    client.get(path)  # templates and routes are loaded
    begun = time.process_time()
    response = client.get(path, headers=FRAGMENT)
    spent = time.process_time() - begun
    assert response.status_code == 200
    return spent, response.content.decode()


@pytest.mark.parametrize("kind", ["empty lists", "marks"])
def test_a_page_full_of_the_longest_calls_reads_none_of_them(scene: Scene, admin: Client, kind: str) -> None:
    pile_up(scene, MOST_CARDS, BODIES[kind](MIB))
    spent, html = cpu_seconds(admin, "/approvals")
    assert html.count("data-card=") == MOST_CARDS
    assert html.count("Open the whole call to decide") == MOST_CARDS
    assert html.count("Too long for this list") == MOST_CARDS
    assert len(html) < 500_000
    assert spent < 1  # seconds; a fifth of it on an idle machine


@EVERY_BODY
@pytest.mark.parametrize("each", [MOST_BYTES // MOST_CARDS // 4, MOST_BYTES // 8], ids=["small", "middling"])
def test_a_page_costs_little_whatever_its_calls_are(scene: Scene, admin: Client, kind: str, each: int) -> None:
    pile_up(scene, MOST_CARDS, BODIES[kind](each))
    spent, html = cpu_seconds(admin, "/approvals")
    assert html.count("data-card=") == MOST_CARDS
    assert len(html) < 2 * MIB
    assert spent < 1


def test_a_long_call_takes_no_room_from_short_ones(scene: Scene, admin: Client) -> None:
    pile_up(scene, 1, BODIES["one string"](MOST_BYTES - 5_000))
    rows = [scene.submit({"n": n, "text": "x" * 2_000}, agent=scene.add_agent(f"bot {n}")) for n in range(5)]
    html = admin.get("/approvals").content.decode()
    assert html.count("Open the whole call to decide") == 1
    assert all(f'action="/approvals/{row.pk}/approve"' in html for row in rows)


@EVERY_BODY
def test_the_page_of_the_longest_call_has_all_of_it_at_a_bounded_cost(scene: Scene, admin: Client, kind: str) -> None:
    body = BODIES[kind](MIB)
    (approval,) = pile_up(scene, 1, body)
    spent, html = cpu_seconds(admin, f"/approvals/{approval.pk}")
    assert spent < 4  # seconds; a third of it on an idle machine
    assert len(html.encode()) < 8 * MIB
    assert 'data-decide="Approved"' in html
    if kind in {"empty lists", "digits", "empty strings", "pairs"}:
        assert f'<bdo dir="ltr">{escape(body)}</bdo>' in html
    if kind == "marks":
        assert html.partition("<pre")[2].count("⟦U+202E⟧") == body.count("\u202e")
    saved = admin.get(f"/approvals/{approval.pk}/payload.txt")
    assert saved.content.decode() == body
    assert f'href="/approvals/{approval.pk}/payload.txt"' in html


def test_a_long_call_is_not_laid_out_again_because_others_come(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    path = f"/approvals/{approval.pk}?version={approval.queue_version}"
    scene.submit({"n": 2})
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert admin.get(path, headers=FRAGMENT).status_code == 204
    assert not any('"form"' in query["sql"] for query in queries)


def test_a_long_json_text_is_laid_out_in_lines(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"path": "a.txt", "content": "x" * PLAIN_FROM, "note": "one\ntwo", "sign": "\u202e"})
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    assert "{\n  <bdi>&quot;path&quot;</bdi>: <bdi>&quot;a.txt&quot;</bdi>,\n" in html
    assert "<bdi>&quot;one\\n\n│ two&quot;</bdi>,\n" in html  # what goes on below cannot pass for a field
    assert "<bdi>&quot;⟦U+202E⟧&quot;</bdi>\n}" in html


@pytest.mark.parametrize(("items", "as_sent"), [(MOST_LINES - 2, False), (MOST_LINES - 1, True)])
@pytest.mark.parametrize("padding", ["", " " * PLAIN_FROM], ids=["numbered", "plain"])
def test_what_has_more_lines_than_anybody_reads_is_shown_as_it_is_sent(items: int, as_sent: bool, padding: str) -> None:
    body = f"[{padding}{','.join('0' * items)}]"
    payload = lay_out(body, Kind.JSON)
    assert payload.as_sent is as_sent
    if as_sent:
        assert payload.text == body


EDITS: dict[str, Callable[[dict[str, object]], object]] = {
    "NaN": lambda form: form | {"body": float("nan")},
    "a number for a body": lambda form: form | {"body": 5},
    "a list for a body": lambda form: form | {"body": ["x"]},
    "a number for a path": lambda form: form | {"endpoint": 5},
    "a number for a URL": lambda form: form | {"url": 5},
    "a URL that is none": lambda form: form | {"url": "http://["},
    "no content type": lambda form: form | {"content_type": None},
    "a body that is no JSON": lambda form: form | {"body": '{"a\\'},
    "half a character": lambda form: form | {"body": '"\ud800"'},
    "another version": lambda form: form | {"version": 2},
    "a member more": lambda form: form | {"more": 1},
    "nothing": lambda _: {},
    "a list": lambda form: [form],
    "another agent": lambda form: form | {"agent_id": "agt_other"},
}
BYTES = {"no JSON": b"\xff{", "empty": b"", "deep": b"[" * 100_000, "huge number": b"9" * 10_000}
DIGESTS = {"its own": None, "another": "0" * 64, "no ASCII": "é" * 64}
NAMES = [*EDITS, *BYTES]
HARMLESS = {
    "a body that is no JSON",
    "half a character",
}  # as far as the page goes: with their own digest they are shown


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_was_changed_says_so_and_breaks_nothing(scene: Scene, admin: Client, name: str, digest: str) -> None:
    approval, other = scene.submit({"n": 1}), scene.submit({"n": 2})
    data = BYTES.get(name) if name in BYTES else None
    if data is None:
        edited = EDITS[name](json.loads(bytes(approval.form)))
        data = json.dumps(edited, sort_keys=True, separators=(",", ":")).encode()
    ApprovalRequest.objects.filter(pk=approval.pk).update(form=data, digest=DIGESTS[digest] or digest_of(data))
    admin.raise_request_exception = False
    sound = name in HARMLESS and digest == "its own"
    for path in ("/approvals", f"/approvals/{approval.pk}"):
        response = admin.get(path)
        html = response.content.decode()
        assert response.status_code == 200
        assert (f'action="/approvals/{approval.pk}/approve"' in html) is sound
        assert ("This row was changed; it cannot be decided." in html) is not sound
    assert f'action="/approvals/{other.pk}/approve"' in admin.get("/approvals").content.decode()
    assert admin.get(f"/approvals/{approval.pk}/payload.txt").status_code in {200, 404}
    ApprovalRequest.objects.filter(pk=approval.pk).update(decision=Decision.EXPIRED, decided_at=timezone.now())
    assert admin.get(f"/approvals/{approval.pk}").status_code == 200


def answered(scene: Scene, text: str) -> ApprovalRequest:
    approval = scene.approve(scene.submit({"n": 1}))
    now = timezone.now()
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=now, executed_at=now, result_status=200, result_json=text
    )
    return approval


def test_a_long_answer_is_cut_on_the_page_and_whole_in_the_download(scene: Scene, admin: Client) -> None:
    text = f'{{"status":200,"data":{array_of("[]", 4 * MIB)},"end":"ä THE END"}}'
    approval = answered(scene, text)
    page = f"/approvals/{approval.pk}"
    spent, html = cpu_seconds(admin, page)
    assert (spent < 1, len(html) < 200_000) == (True, True)
    assert f"… cut here, {len(text)} characters in all" in html
    assert "THE END" not in html
    assert f'href="{page}/answer.txt"' in html
    saved = admin.get(f"{page}/answer.txt")
    assert saved.content.decode() == text


def test_an_answer_of_ordinary_length_is_whole_and_unmarked(scene: Scene, admin: Client) -> None:
    approval = answered(scene, '{"status":200,"data":"THE END"}')
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    assert "THE END" in html
    assert "cut here" not in html
    assert "answer.txt" not in html


@pytest.mark.parametrize("name", ["payload.txt", "answer.txt"])
def test_downloads_are_plain_attachments_for_the_owners_people(
    scene: Scene, admin: Client, stranger: Client, name: str
) -> None:
    approval = answered(scene, '{"status":200,"data":"<script>"}')
    path = f"/approvals/{approval.pk}/{name}"
    response = admin.get(path)
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Disposition"].startswith("attachment; filename=")
    assert "no-store" in response["Cache-Control"]
    assert admin.post(path).status_code == 405
    assert stranger.get(path).status_code == 404
    assert Client().get(path).status_code == 302
    bare = scene.submit(method="POST", endpoint="/api/nothing")  # no body, no answer
    assert admin.get(f"/approvals/{bare.pk}/{name}").status_code == 404


def test_no_agent_hides_the_calls_of_another(scene: Scene, admin: Client) -> None:
    pile_up(scene, 3 * MOST_CARDS, '{"n":1}')
    quiet = [scene.submit({"n": n}, agent=scene.add_agent(f"quiet {n}")) for n in range(3)]
    html = admin.get("/approvals").content.decode()
    assert html.count("data-card=") == MOST_CARDS
    assert all(f'data-card="{row.pk}"' in html for row in quiet)
    assert f"{2 * MOST_CARDS + 3} more are waiting." in html


def test_children_take_turns_with_their_parent(scene: Scene, admin: Client) -> None:
    for number in range(MOST_CARDS + 1):  # as many first calls as a page has cards
        pile_up(scene, 1, '{"n":1}', agent=scene.add_agent(f"child {number}", parent=scene.agent))
    row = scene.submit({"n": 1}, agent=scene.add_agent("quiet"))
    assert f'data-card="{row.pk}"' in admin.get("/approvals").content.decode()


def test_an_outcome_of_a_long_call_is_told_without_reading_it(scene: Scene, admin: Client) -> None:
    approval = answered(scene, "1" * MIB)
    version = Queue.objects.get(owner=scene.owner).version
    ApprovalRequest.objects.filter(pk=approval.pk).update(result_status=500, queue_version=version)
    with CaptureQueriesContext(connection) as queries:
        html = admin.get(f"/approvals?version={version - 1}", headers=FRAGMENT).content.decode()
    assert "acme-chat answered 500" in html
    assert not any('"result_json"' in query["sql"] for query in queries)
