"""/admin: the whole story of one call on one page, for those who may look, and nothing to change."""

import csv
import io
import json
import re
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Agent, User
from approvals.admin import MOST_SHOWN
from approvals.binding import digest_of
from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.services import deny
from audit.models import AuditEvent
from tests.approvals.test_decisions import approve
from tests.world import Side, submit

LIST, LOG = "/admin/approvals/approvalrequest/", "/admin/audit/auditevent/"


@pytest.fixture
def auditor(client: Client, acme: Side) -> Client:
    """The owner's auditor, as provisioning makes one."""
    User.objects.filter(pk=acme.auditor.user_id).update(is_staff=True)
    client.force_login(User.objects.get(pk=acme.auditor.user_id))
    return client


def executed(side: Side) -> ApprovalRequest:
    approval = approve(side, submit(side))
    execute(approval_id=approval.pk, now=timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk)


def test_one_page_has_the_call_the_decision_the_result_and_every_audit_row(auditor: Client, acme: Side) -> None:
    approval = executed(acme)
    page = auditor.get(f"{LIST}{approval.pk}/change/").content.decode()
    for piece in (
        approval.digest,
        "&quot;method&quot;: &quot;POST&quot;",
        "approver@acme.example",
        bytes(approval.seal or b"").hex(),
        "Digest, columns and seal fit the stored call.",
        "approval.requested",
        "approval.approved",
        "approval.sending",
        "approval.executed",
        str(approval.request_id),
    ):
        assert piece in page
    assert 'name="_save"' not in page


def test_the_story_of_a_request_leads_to_its_export(auditor: Client, acme: Side) -> None:
    """From the page of the call and from that of each audit row: all of its rows, and no other's."""
    executed(acme)
    approval = executed(acme)
    rows = AuditEvent.objects.filter(approval_id=approval.pk)
    for path in (f"{LIST}{approval.pk}/change/", f"/admin/audit/auditevent/{rows.latest('seq').pk}/change/"):
        assert f'href="/audit?q={approval.request_id}"' in auditor.get(path).content.decode()
    exported = auditor.post(f"/audit/export.jsonl?q={approval.request_id}")
    lines = b"".join(exported.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert {json.loads(line)["id"] for line in lines} == {str(row.pk) for row in rows}


def test_a_row_edited_by_hand_is_called_so(auditor: Client, acme: Side) -> None:
    approval = executed(acme)
    ApprovalRequest.objects.filter(pk=approval.pk).update(decided_by="nobody@example.com")
    assert "TAMPERED" in auditor.get(f"{LIST}{approval.pk}/change/").content.decode()


def test_the_rows_of_another_owner_are_not_there(auditor: Client, acme: Side, stranger: Side) -> None:
    theirs = executed(stranger)
    ours = executed(acme)
    page = auditor.get(LIST).content.decode()
    assert str(ours.pk) in page
    assert str(theirs.pk) not in page
    assert auditor.get(f"{LIST}{theirs.pk}/change/").status_code == 404
    assert "approval.requested" not in auditor.get(f"/admin/audit/auditevent/?q={theirs.pk}").content.decode()


def test_an_approver_has_no_forensics(client: Client, acme: Side) -> None:
    User.objects.filter(pk=acme.approver.user_id).update(is_staff=True)
    client.force_login(User.objects.get(pk=acme.approver.user_id))
    assert client.get(LIST).status_code == 403


@pytest.mark.parametrize("what", ["approval id", "request id", "agent id", "part of a name"])
def test_a_row_is_found_by(auditor: Client, acme: Side, what: str) -> None:
    approval = executed(acme)
    term = {
        "approval id": approval.pk,
        "request id": approval.request_id,
        "agent id": approval.agent_id,
        "part of a name": "cme b",
    }[what]
    assert str(approval.pk) in auditor.get(LIST, {"q": str(term)}).content.decode()


def test_the_list_reads_no_long_column(auditor: Client, acme: Side) -> None:
    executed(acme)
    with CaptureQueriesContext(connection) as queries:
        assert auditor.get(LIST).status_code == 200
    sql = " ".join(query["sql"] for query in queries)
    assert "approvals_approvalrequest" in sql
    assert not any(f'"{column}"' in sql for column in ("form", "result_json", "disclosure"))


def test_long_texts_are_cut_on_the_page_with_a_mark(auditor: Client, acme: Side) -> None:
    approval = executed(acme)
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        result_json=f"[{'[],' * MOST_SHOWN}1]", form=b"x" * MOST_SHOWN + b"THE END"
    )
    page = auditor.get(f"{LIST}{approval.pk}/change/").content.decode()
    assert f"… cut here, {3 * MOST_SHOWN + 3} characters in all" in page
    assert f"… cut here, {MOST_SHOWN + 7} characters in all" in page
    assert "THE END" not in page
    assert len(page) < 3 * MOST_SHOWN


@pytest.mark.parametrize("form", [b"", b"[" * 50_000, b"\xff", b"{}", b"9" * 5_000])
def test_a_row_that_cannot_be_read_is_called_so_and_shown(auditor: Client, acme: Side, form: bytes) -> None:
    approval = executed(acme)
    for digest in ("0" * 64, "é" * 64, digest_of(form)):
        ApprovalRequest.objects.filter(pk=approval.pk).update(form=form, digest=digest)
        response = auditor.get(f"{LIST}{approval.pk}/change/")
        assert (response.status_code, "TAMPERED" in response.content.decode()) == (200, True)


@pytest.mark.parametrize("path", [f"{LIST}add/", f"{LIST}{{pk}}/delete/", "/admin/audit/auditevent/add/"])
def test_history_cannot_be_added_to_or_deleted_here(auditor: Client, acme: Side, path: str) -> None:
    approval = executed(acme)
    assert auditor.get(path.format(pk=approval.pk)).status_code == 403
    auditor.post(f"{LIST}{approval.pk}/change/", {"decision": "denied"})
    approval.refresh_from_db()
    assert approval.decision == "approved"


HIDING = "deploy\u202etob"


def test_what_hides_in_a_text_is_marked_in_every_list_and_on_every_page(auditor: Client, acme: Side) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(name=HIDING)
    acme.agent.refresh_from_db()
    approval = submit(acme, reason=HIDING)
    deny(
        member=acme.admin,
        approval_id=approval.pk,
        digest=approval.digest,
        reason=HIDING,
        via="dashboard",
        now=timezone.now(),
    )
    ApprovalRequest.objects.filter(pk=approval.pk).update(connection_label=HIDING)
    row = AuditEvent.objects.get(event="approval.denied")
    for path, times in (
        (LIST, 1), (f"{LIST}{approval.pk}/change/", 4), (LOG, 3), (f"{LOG}{row.pk}/change/", 3)
    ):  # fmt: skip
        page = auditor.get(path).content.decode().split('id="content"', 1)[1]
        assert "\u202e" not in page
        assert page.count('deploy<span class="codepoint">⟦U+202E⟧</span>tob') >= times, path


def exported(client: Client, **filters: str) -> list[dict[str, str]]:
    response = client.post(f"{LIST}export.csv?{urlencode(filters)}")
    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    return list(csv.DictReader(io.StringIO(text)))


def test_the_list_is_exported_as_it_is_filtered_without_contents_and_on_record(
    auditor: Client, acme: Side, stranger: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.sheets.BATCH", 2)
    Agent.objects.filter(pk=acme.agent.pk).update(name=f"={HIDING}")
    acme.agent.refresh_from_db()
    approved = [executed(acme) for _ in range(3)]
    waiting = submit(acme, body='{"password": "hunter2"}')
    executed(stranger)
    page = auditor.get(f"{LIST}?decision=approved").content.decode()
    assert f'method="post" action="{LIST}export.csv?decision=approved"' in page

    rows = exported(auditor, decision="approved")
    assert [row["id"] for row in rows] == [str(one.pk) for one in reversed(approved)]
    assert {row["agent_name"] for row in rows} == {"'=deploy⟦U+202E⟧tob"}
    (log,) = AuditEvent.objects.filter(event="approval.exported")
    assert (log.owner_id, log.actor_label) == (acme.owner.pk, "auditor@acme.example")
    assert log.metadata == {"kind": "csv", "filters": {"decision": "approved"}, "rows": 3}

    everything = exported(auditor)
    assert {row["id"] for row in everything} == {str(one.pk) for one in [*approved, waiting]}
    assert not re.search("hunter2|/api/|seal|result_json|idempotency", str(everything))
    today = f"{timezone.now():%Y-%m-%d}"
    assert len(exported(auditor, q=str(waiting.request_id), period=today)) == 1
    assert exported(auditor, period="2020") == []
    assert auditor.get(f"{LIST}export.csv").status_code == 405


def test_pages_and_exports_ask_as_often_for_many_rows_as_for_one(auditor: Client, acme: Side) -> None:
    approval = executed(acme)
    event = AuditEvent.objects.filter(approval_id=approval.pk).latest("seq")

    def queries() -> list[int]:
        asked = []
        for path in (LIST, LOG, f"{LIST}{approval.pk}/change/", f"{LOG}{event.pk}/change/", ""):
            with CaptureQueriesContext(connection) as seen:
                exported(auditor) if not path else auditor.get(path)
            asked.append(len(seen))
        return asked

    queries()
    before = queries()
    for _ in range(3):
        executed(acme)
    assert queries() == before
