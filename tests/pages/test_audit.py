"""/audit: what happened, found by every filter, page by page; one row with its story; the line about the chain."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit import browse, checks, tasks
from audit.checkpoints import checkpoint_moved_chains
from audit.events import DECISIONS, Actor, Event, Result
from audit.models import AuditEvent, ChainCheck
from audit.records import record
from tests.boot import superuser
from tests.pages.scene import Scene, make_scene, signed_in
from tests.pages.spoofs import SPOOFS, Spoof

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Write = Callable[..., UUID]


@pytest.fixture
def write(scene: Scene) -> Write:
    """Puts a row on record for the scene's owner, a second after the one before."""
    clock = iter(range(1_000_000))

    def row(**facts: Any) -> UUID:
        given: dict[str, Any] = {
            "event": Event.ACTION_ALLOWED,
            "result": Result.ALLOWED,
            "actor": Actor("agent", scene.agent.pk, "deploy-bot"),
            "now": START + timedelta(seconds=next(clock)),
            "agent_id": scene.agent.pk,
            "agent_name": "deploy-bot",
            "platform": "acme-chat",
            "action": "chat:write",
            "owner_id": scene.owner.pk,
        }
        with transaction.atomic():
            return record(**(given | facts))

    return row


def shown(client: Client, **query: Any) -> list[UUID]:
    """The rows of a page, in its order."""
    response = client.get("/audit", query)
    assert response.status_code == 200, response.content
    return [UUID(one) for one in re.findall(r'href="/audit/([0-9a-f-]{36})"', response.content.decode())]


def test_the_columns_the_tabs_and_the_newest_row_first(admin: Client, write: Write) -> None:
    first = write(reason="because")
    second = write(event=Event.MEMBER_SIGNED_IN, agent_id="", agent_name="", platform="", action="")
    html = admin.get("/audit").content.decode()
    for piece in (
        "Audit Log",
        ">Actions<",
        ">Policy Decisions<",
        *(f">{name}</th>" for name in ["Time", "Agent", "Platform", "Action", "Result"]),
    ):
        assert piece in html
    assert shown(admin) == [second, first]
    assert shown(admin, tab="decisions") == [first]
    assert "because" in html


def test_the_empty_pages_say_why(admin: Client, write: Write) -> None:
    assert "Nothing has happened yet." in admin.get("/audit").content.decode()
    assert "Nothing has been decided yet." in admin.get("/audit?tab=decisions").content.decode()
    write()
    assert "No row matches these filters." in admin.get("/audit?result=error").content.decode()
    assert "This is the beginning of the log." in admin.get("/audit?before=1-1").content.decode()


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
def test_every_role_reads(scene: Scene, write: Write, role: str) -> None:
    wanted = write()
    client = signed_in(getattr(scene, role))
    assert shown(client) == [wanted]
    assert client.get(f"/audit/{wanted}").status_code == 200
    assert ("Check now" in client.get("/audit").content.decode()) is (role != "approver")


def test_a_stranger_sees_nothing_of_it(stranger: Client, write: Write) -> None:
    request_id = uuid4()
    wanted = write(request_id=request_id)
    assert shown(stranger) == []
    assert shown(stranger, q=request_id) == []
    assert shown(stranger, q=wanted) == []
    assert stranger.get(f"/audit/{wanted}").status_code == 404
    for kind in ("jsonl", "csv", "bundle"):
        exported = b"".join(stranger.post(f"/audit/export.{kind}").streaming_content)  # type: ignore[attr-defined]
        assert b"deploy-bot" not in exported
    assert Client().get("/audit").status_code == 302


def test_every_filter_finds_its_rows(scene: Scene, admin: Client, write: Write) -> None:
    other = scene.add_agent("support-agent")
    request_id, approval_id = uuid4(), uuid4()
    denied = write(event=Event.ACTION_DENIED, result=Result.DENIED, reason="endpoint_scope_mismatch")
    asked = write(event=Event.APPROVAL_REQUESTED, result=Result.PENDING, request_id=request_id, approval_id=approval_id)
    mail = write(platform="gmail", agent_id=other.pk, agent_name="support-agent")
    gone = write(agent_id="agt_gone", agent_name="long gone")
    cases: list[tuple[dict[str, Any], list[UUID]]] = [
        ({"result": "denied"}, [denied]),
        ({"action": "approval.requested"}, [asked]),
        ({"agent": "support-agent"}, [mail]),
        ({"agent": "SUPPORT-agent"}, [mail]),
        ({"agent": other.pk}, [mail]),
        ({"agent": "agt_gone"}, [gone]),
        ({"agent": "long gone"}, [gone]),
        ({"agent": "nobody"}, []),
        ({"q": request_id}, [asked]),
        ({"q": approval_id.hex}, [asked]),
        ({"q": mail}, [mail]),
        ({"q": "gmail"}, [mail]),
        ({"q": "scope_mis"}, [denied]),
        ({"q": "%"}, []),
        ({"since": "2026-03-01T12:00:02", "until": "2026-03-01T12:00:02"}, [mail]),
        ({"until": "2026-03-01T12:00"}, [denied]),
        ({"agent": "deploy-bot", "result": "denied"}, [denied]),
        ({"agent": "deploy-bot", "result": "denied", "q": "nothing"}, []),
        ({"tab": "decisions", "agent": "deploy-bot", "result": "pending"}, [asked]),
        ({"tab": "decisions", "action": "member.signed_in"}, []),
        ({"tab": "decisions", "q": request_id}, [asked]),
    ]
    for query, expected in cases:
        assert shown(admin, **query) == expected, query


def test_every_decision_is_on_its_tab(admin: Client, write: Write) -> None:
    decisions = [write(event=event) for event in sorted(DECISIONS)]
    write(event=Event.ACTION_SENDING)
    write(event=Event.PERMISSION_GRANTED)
    assert shown(admin, tab="decisions") == decisions[::-1]


@pytest.mark.parametrize(
    "query", [{}, {"tab": "decisions"}, {"result": "allowed"}, {"result": "allowed", "q": "chat:"}]
)
def test_pages_follow_one_another_without_gap_or_repetition(
    admin: Client, write: Write, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    monkeypatch.setattr(browse, "ROWS_PER_PAGE", 3)
    monkeypatch.setattr(browse, "MOST_EXAMINED", 5)
    rows = [write(now=START + timedelta(seconds=number // 3)) for number in range(11)]  # several at the same moment
    seen: list[UUID] = []
    link, pages = "/audit?" + urlencode(query), 0
    while link:
        html = admin.get(link).content.decode()
        seen += [UUID(one) for one in re.findall(r'href="/audit/([0-9a-f-]{36})"', html)]
        older = re.search(r'rel="next" href="([^"]*)"', html)
        link, pages = (older.group(1).replace("&amp;", "&") if older else ""), pages + 1
    assert seen == rows[::-1]
    assert pages >= 4


def test_a_page_that_stops_looking_says_how_far_it_came(
    admin: Client, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "MOST_EXAMINED", 4)
    wanted = write(reason="needle")
    for _ in range(5):
        write()
    html = admin.get("/audit?q=needle").content.decode()
    assert "Nothing found so far." in html
    assert "Looked back to <time" in html
    older = re.search(r'rel="next" href="([^"]*)">Look further back', html)
    assert older is not None
    assert str(wanted) in admin.get(older.group(1).replace("&amp;", "&")).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "before=x", "before=-", "before=1-x", "before=99999999999999999999-1", "before=999999999999999999-1",
        "before=١-١", "tab=nothing", "action=nothing", "result=%00", "q=%00", "since=yesterday", "q=" + "x" * 400,
        "since=0001-01-01T00:00%2B14:00", "until=9999-12-31T23:59:59-14:00", "agent=%EF%BF%BD%00", "page=7",
    ],
)  # fmt: skip
def test_no_query_is_an_error_of_ours(admin: Client, write: Write, query: str) -> None:
    write()
    assert admin.get(f"/audit?{query}").status_code in {200, 400}
    exported = admin.post(f"/audit/export.csv?{query}")
    assert exported.status_code == admin.get(f"/audit?{query}").status_code
    if exported.status_code == 200:
        assert b"time" in b"".join(exported.streaming_content)  # type: ignore[attr-defined]


def test_the_number_of_queries_does_not_grow_with_the_log(scene: Scene, admin: Client, write: Write) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(path).status_code == 200
        sql = " ".join(query["sql"] for query in captured if "audit_" in query["sql"])
        assert "COUNT(" not in sql
        return len(captured)

    one = write(request_id=scene.owner.pk)
    paths = ("/audit", "/audit?tab=decisions", "/audit?result=allowed&q=chat", f"/audit/{one}")
    queries("/audit")  # the first visit of a session writes down when that was
    before = [queries(path) for path in paths]
    for _ in range(60):
        write(request_id=scene.owner.pk)
    assert [queries(path) for path in paths] == before


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "auditevent_owner_at"),
        ("since=2026-03-01&until=2026-03-02", "auditevent_owner_at"),
        ("agent=agt_1", "auditevent_agent_at"),
        ("action=action.denied", "auditevent_event_at"),
        ("result=denied", "auditevent_result_at"),
        ("q=acme-chat", "auditevent_platform_at"),
        ("tab=decisions", "auditevent_decision_at"),
    ],
)
def test_each_filter_has_an_index_that_hands_out_its_rows_in_order(
    admin: Client, write: Write, query: str, index: str
) -> None:
    write()
    with CaptureQueriesContext(connection) as captured:
        assert admin.get(f"/audit?{query}&before=1900000000000000-5").status_code == 200
    [sql] = [one["sql"] for one in captured if "ORDER BY" in one["sql"] and 'FROM "audit_auditevent"' in one["sql"]]
    with connection.cursor() as cursor:  # the table is tiny, where every index is as good: so there is this one only
        for other in ("owner_at", "agent_at", "event_at", "result_at", "platform_at", "decision_at"):
            if index != f"auditevent_{other}":
                cursor.execute(f"DROP INDEX auditevent_{other}")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {sql}")
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert index in plan, plan
    assert "Sort" not in plan


def test_a_row_opens_with_its_metadata_and_the_story_of_its_request(scene: Scene, admin: Client) -> None:
    approval = scene.approve(scene.submit({"text": "Hello"}))
    scene.fail(approval, "the platform did not answer in time.")
    scene.submit({"text": "Another"})
    events = list(AuditEvent.objects.filter(approval_id=approval.pk).order_by("seq"))
    assert len(events) >= 3
    for event in events:
        html = admin.get(f"/audit/{event.pk}").content.decode()
        story = re.findall(r'class="story-time" href="/audit/([0-9a-f-]{36})"', html)
        assert story == [str(one.pk) for one in events]
        assert bytes(event.hash).hex() in html
        assert f"/approvals/{approval.pk}" in html
    asked = admin.get(f"/audit/{events[0].pk}", headers={"X-Fragment": "1"})
    assert "<html" not in asked.content.decode()
    assert "&quot;endpoint&quot;: &quot;/api/messages&quot;" in asked.content.decode()
    assert "X-Fragment" in asked["Vary"]


def test_what_is_not_there_is_a_plain_404(admin: Client) -> None:
    assert admin.get(f"/audit/{uuid4()}").status_code == 404
    assert admin.post("/audit/export.exe").status_code == 404


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda spoof: spoof.name)
def test_whatever_an_agent_writes_is_shown_escaped_and_visible(admin: Client, write: Write, spoof: Spoof) -> None:
    column = spoof.shown.replace("⟦U+0000⟧", "⟦U+FFFD⟧") if "\0" in spoof.text else spoof.shown
    row = write(**dict.fromkeys(("agent_name", "platform", "action", "reason"), spoof.text), metadata={"m": spoof.text})
    for path in ("/audit", f"/audit/{row}"):
        html = admin.get(path).content.decode()
        assert column in html or spoof.shown in html
        assert spoof.hidden not in html


# --- The line about the chain


def line(client: Client) -> str:
    html = client.get("/audit").content.decode()
    found = re.search(r'<p class="standing-text">(.*?)</p>', html, re.DOTALL)
    assert found is not None
    return re.sub(r"<[^>]*>", "", found.group(1))


def test_the_line_tells_up_to_which_row_the_chain_verifies_and_since_when(
    scene: Scene, admin: Client, write: Write
) -> None:
    assert "nothing to check yet" in line(admin)
    write()
    assert "has not been checked yet" in line(admin)
    checkpoint_moved_chains(now=timezone.now())
    assert re.search(r"The chain verifies up to row 1\. Last checked \d{4}-", line(admin))
    write()
    assert "1 newer row is checked within a minute" in line(admin)
    ChainCheck.objects.update(checked_at=timezone.now() - timedelta(minutes=6))
    assert "look whether the sweeper runs" in line(admin)


@pytest.mark.django_db(transaction=True)
def test_a_bad_row_is_named_until_the_whole_chain_verifies_again(scene: Scene, admin: Client, write: Write) -> None:
    for _ in range(3):
        write()
    checkpoint_moved_chains(now=timezone.now())
    name = str(connection.settings_dict["NAME"])
    with superuser(name) as db:
        db.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        db.execute("UPDATE audit_auditevent SET reason = 'edited' WHERE seq = 2")
        tasks.check()
        assert "The chain does not verify: row 2: its column reason is not what was recorded (edited)." in line(admin)
        write()
        checkpoint_moved_chains(now=timezone.now())  # the new row alone is fine
        assert "row 2" in line(admin)
        db.execute("UPDATE audit_auditevent SET reason = '' WHERE seq = 2")
        db.execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")
        db.execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER append_only_rows")
    admin.post("/audit/check")
    tasks.check()
    assert re.search(r"✓ The chain verifies up to row 5\. Last checked .*, from the first row ", line(admin))


@pytest.mark.parametrize(("role", "status"), [("admin", 303), ("auditor", 303), ("approver", 403)])
def test_check_now_is_queued_once_and_on_record(scene: Scene, write: Write, role: str, status: int) -> None:
    write()
    client = signed_in(getattr(scene, role))
    assert client.get("/audit/check").status_code == 405
    assert client.post("/audit/check").status_code == status
    waiting = ChainCheck.objects.filter(requested_at__isnull=False).count()
    assert waiting == (status == 303)
    assert AuditEvent.objects.filter(event=Event.AUDIT_CHECK_REQUESTED).count() == waiting
    if waiting:
        assert "The whole chain is being checked." in client.get("/audit").content.decode()
        client.post("/audit/check")
        assert AuditEvent.objects.filter(event=Event.AUDIT_CHECK_REQUESTED).count() == 1
        tasks.check()
        assert "Check now" in client.get("/audit").content.decode()


def test_check_now_needs_our_token(scene: Scene, write: Write) -> None:
    write()
    assert signed_in(scene.admin, enforce_csrf_checks=True).post("/audit/check").status_code == 403


def test_whole_chains_are_checked_one_at_a_time_and_once_a_day(scene: Scene, write: Write) -> None:
    write()
    other = make_scene("Other")
    now = timezone.now()
    with transaction.atomic():
        record(
            event=Event.OWNER_CREATED,
            result=Result.INFO,
            owner_id=other.owner.pk,
            actor=Actor("system", "t", "t"),
            now=now,
        )
    checkpoint_moved_chains(now=now)
    ChainCheck.objects.filter(pk=scene.owner.pk).update(claimed_at=now)
    assert checks.check_one_whole_chain(now=now) is None
    later = now + checks.LEASE
    assert {verdict.owner_id for _ in range(2) if (verdict := checks.check_one_whole_chain(now=later))} == {
        scene.owner.pk,
        other.owner.pk,
    }
    assert checks.check_one_whole_chain(now=later + timedelta(hours=23)) is None
    assert checks.check_one_whole_chain(now=later + timedelta(hours=24)) is not None
