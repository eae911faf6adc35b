"""The two buttons: what they do, for whom, and what is said when they cannot."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone

from agents.models import Agent
from approvals import call_display, services
from approvals.models import ApprovalRequest, Decision
from audit.models import AuditEvent
from platforms.models import Scope
from tests.pages.scene import Scene, signed_in

FRAGMENT = {"X-Fragment": "1"}


def press(
    client: Client, button: str, approval: ApprovalRequest, *, digest: str = "", script: bool = True, reason: str = ""
) -> Any:
    data = {"digest": digest or approval.digest, "reason": reason}
    return client.post(f"/approvals/{approval.pk}/{button}", data, headers=FRAGMENT if script else {})


def word_back(html: str, approval: ApprovalRequest) -> str:
    """The line in `html` that names the decision and links to its call, as it is read."""
    found = re.search(r"(?:Approved|Denied): .*</a>", html)
    assert found
    assert f'href="/approvals/{approval.pk}"' in found[0]
    return unescape(re.sub("<[^>]+>", "", found[0]))


def now_in_database(approval: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=approval.pk)


def test_approve_answers_with_the_card_processing(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    response = press(admin, "approve", approval)
    html = response.content.decode()
    assert response.status_code == 200
    assert response["X-Fragment"] == "card"
    assert "Processing…" in html
    assert word_back(html.partition("data-said")[2], approval) == (
        "Approved: POST /api/messages of deploy-bot. The call is on its way. View call"
    )
    assert "data-decide" not in html
    row = now_in_database(approval)
    assert (row.decision, row.decided_by, row.decided_via) == (Decision.APPROVED, "admin@acme.example", "dashboard")


def test_the_word_back_names_the_call_without_laying_it_out(
    scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = scene.submit({"n": 1})
    monkeypatch.setattr(call_display, "_lay_out", None)  # calling it fails
    html = press(admin, "deny", approval).content.decode()
    assert word_back(html, approval) == "Denied: POST /api/messages of deploy-bot. Nothing was sent. View call"


def test_deny_answers_with_the_word_back_alone(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    response = press(admin, "deny", approval, reason="  Not on a Friday\0 ")
    html = response.content.decode()
    assert (response.status_code, response["X-Fragment"], "data-card" in html) == (200, "said", False)
    assert word_back(html, approval) == "Denied: POST /api/messages of deploy-bot. Nothing was sent. View call"
    row = now_in_database(approval)
    assert (row.decision, row.deny_reason) == (Decision.DENIED, "Not on a Friday")


@pytest.mark.parametrize(
    ("button", "said"),
    [
        ("approve", "Approved: POST /api/messages of <b>deploy⟦U+200B⟧-bot. The call is on its way. View call"),
        ("deny", "Denied: POST /api/messages of <b>deploy⟦U+200B⟧-bot. Nothing was sent. View call"),
    ],
)
def test_without_script_a_button_leads_back_to_the_queue(scene: Scene, admin: Client, button: str, said: str) -> None:
    Agent.objects.update(name="<b>deploy\u200b-bot")
    approval = scene.submit({"n": 1})
    response = press(admin, button, approval, script=False)
    assert (response.status_code, response.headers["Location"]) == (303, "/approvals")
    html = admin.get("/approvals").content.decode()
    assert word_back(html.partition('class="notices" role="status"')[2].partition("</ul>")[0], approval) == said
    assert "All agent actions are within approved permissions." not in html  # not right after a decision


@pytest.mark.parametrize("button", ["approve", "deny"])
@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "patch", "options"])
def test_only_a_post_decides(scene: Scene, admin: Client, button: str, method: str) -> None:
    approval = scene.submit({"n": 1})
    response = getattr(admin, method)(f"/approvals/{approval.pk}/{button}?digest={approval.digest}")
    assert response.status_code == 405
    assert now_in_database(approval).decision == Decision.PENDING


@pytest.mark.parametrize("button", ["approve", "deny"])
def test_a_decision_without_our_form_is_refused(scene: Scene, button: str) -> None:
    approval = scene.submit({"n": 1})
    response = press(signed_in(scene.admin, enforce_csrf_checks=True), button, approval)
    assert response.status_code == 403
    assert "This page is out of date" in response.content.decode()
    assert now_in_database(approval).decision == Decision.PENDING


@pytest.mark.parametrize("button", ["approve", "deny"])
def test_somebody_elses_approval_does_not_exist(scene: Scene, stranger: Client, button: str) -> None:
    approval = scene.submit({"n": 1})
    assert press(stranger, button, approval).status_code == 404
    assert press(stranger, button, approval, script=False).status_code == 404
    assert now_in_database(approval).decision == Decision.PENDING
    assert stranger.post(f"/approvals/{uuid4()}/{button}").status_code == 404


@pytest.mark.parametrize("button", ["approve", "deny"])
def test_an_auditor_decides_nothing(scene: Scene, stranger: Client, button: str) -> None:
    approval = scene.submit({"n": 1})
    auditor = signed_in(scene.auditor)
    response = press(auditor, button, approval)
    assert response.status_code == 403
    assert "Your role reads only. Nothing was decided." in response.content.decode()
    assert now_in_database(approval).decision == Decision.PENDING
    assert auditor.post(f"/approvals/{uuid4()}/{button}", headers=FRAGMENT).status_code == 404


def test_an_approver_decides(scene: Scene) -> None:
    assert press(signed_in(scene.approver), "approve", scene.submit({"n": 1})).status_code == 200


@pytest.mark.parametrize("button", ["approve", "deny"])
@pytest.mark.parametrize("first", ["approve", "deny"])
def test_who_comes_second_is_told_on_the_card_who_was_first(
    scene: Scene, admin: Client, first: str, button: str
) -> None:
    approval = scene.submit({"n": 1})
    press(signed_in(scene.approver), first, approval)
    row = now_in_database(approval)
    word = {"approve": "approved", "deny": "denied"}[first]
    assert row.decided_at is not None
    sentence = f"Already {word} by approver@acme.example at {row.decided_at:%H:%M} UTC"
    response = press(admin, button, approval)
    assert response.status_code == 409
    assert response["X-Fragment"] == "card"
    assert sentence in response.content.decode()
    assert "data-decide" not in response.content.decode()
    plain = press(admin, button, approval, script=False)
    assert (plain.status_code, plain.headers["Location"]) == (303, f"/approvals/{approval.pk}")
    assert sentence in admin.get(plain.headers["Location"]).content.decode()
    assert now_in_database(approval).decided_by == "approver@acme.example"


def test_pressing_twice_sends_once_and_says_so(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    press(admin, "approve", approval)
    response = press(admin, "approve", approval)
    assert "Already approved by admin@acme.example at" in response.content.decode()
    events = AuditEvent.objects.filter(approval_id=approval.pk, event="approval.approved")
    assert events.count() == 1


def test_a_row_whose_time_is_up_is_not_decided(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    ApprovalRequest.objects.filter(pk=approval.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    response = press(admin, "approve", approval)
    assert response.status_code == 409
    assert "Already expired at" in response.content.decode()
    assert now_in_database(approval).decision == Decision.EXPIRED


@pytest.mark.parametrize("digest", ["0" * 64, "x", "é", "\0"])
def test_a_digest_that_was_not_displayed_decides_nothing(scene: Scene, admin: Client, digest: str) -> None:
    approval = scene.submit({"n": 1})
    response = press(admin, "approve", approval, digest=digest)
    html = response.content.decode()
    assert response.status_code == 409
    assert "This call is not the one you were shown. Nothing was decided: read it again." in html
    assert f'name="digest" value="{approval.digest}"' in html
    assert now_in_database(approval).decision == Decision.PENDING


def test_a_decision_without_a_digest_decides_nothing(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    assert admin.post(f"/approvals/{approval.pk}/approve", headers=FRAGMENT).status_code == 409
    assert now_in_database(approval).decision == Decision.PENDING


def test_a_decided_call_tells_its_story(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    press(admin, "deny", approval, reason="Not on a Friday")
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    for shown in ("Denied", "by admin@acme.example", "Not on a Friday", approval.digest, "&quot;n&quot;"):
        assert shown in html
    assert "data-decide" not in html


def test_a_failed_call_tells_why(scene: Scene, admin: Client) -> None:
    approval = scene.approve(scene.submit({"n": 1}))
    scene.fail(approval, "the platform did not answer in time.")
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    assert "acme-chat: the platform did not answer in time." in html


def test_the_platforms_answer_is_shown_as_the_agent_gets_it(scene: Scene, admin: Client) -> None:
    approval = scene.approve(scene.submit({"n": 1}))
    now = timezone.now()
    ApprovalRequest.objects.filter(pk=approval.pk).update(
        execution_started_at=now,
        executed_at=now,
        result_status=200,
        result_json='{"status":200,"data":{"id":"<b>m\\u202e1</b>"}}',
    )
    html = admin.get(f"/approvals/{approval.pk}").content.decode()
    assert '&lt;b&gt;m<span class="codepoint">⟦U+202E⟧</span>1&lt;/b&gt;' in html
    assert "Platform’s status 200" in html


def test_the_page_of_one_call_refreshes_as_the_queue_does(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    path = f"/approvals/{approval.pk}"
    version = approval.queue_version
    assert admin.get(f"{path}?version={version}", headers=FRAGMENT).status_code == 204
    press(admin, "approve", approval)
    part = admin.get(f"{path}?version={version}", headers=FRAGMENT)
    assert part.status_code == 200
    assert 'data-state="processing"' in part.content.decode()


def deny_selected(client: Client, *rows: ApprovalRequest, reason: str = "") -> Any:
    return client.post("/approvals/deny", {"selected": [f"{row.pk}:{row.digest}" for row in rows], "reason": reason})


def test_selected_calls_are_denied_each_as_if_it_were_the_only_one(scene: Scene, admin: Client) -> None:
    scene.add_platform("bank", base_url="https://bank.example", connection="x", scopes={"pay": ["* /**"]})
    Scope.objects.filter(name="pay").update(step_up="passkey")
    demanding = scene.submit({"n": 1}, platform="bank", scope="pay")
    free, taken, stale, other = (scene.submit({"n": n}) for n in range(4))
    press(signed_in(scene.approver), "approve", taken)
    stale.digest = "0" * 64
    response = deny_selected(admin, free, taken, stale, demanding, other, free, reason=" Too many\0 ")
    assert (response.status_code, response.headers["Location"]) == (303, "/approvals")
    html = admin.get("/approvals").content.decode()
    for sentence in (
        f'Denied 2 calls. Nothing was sent. <a href="/approvals/history?state=denied&amp;agent={free.agent_id}">',
        f"{taken.digest[:12]}: Already approved by approver@acme.example at",
        "This call is not the one you were shown.",
        f"{demanding.digest[:12]}: This scope is decided on with a passkey only.",
    ):
        assert sentence in html
    assert "selected" not in html.partition(f'data-card="{demanding.pk}"')[2].partition("</li>")[0]
    for row in map(now_in_database, (free, other)):
        assert (row.decision, row.deny_reason, row.decided_via) == (Decision.DENIED, "Too many", "dashboard")
        assert AuditEvent.objects.filter(approval_id=row.pk, event="approval.denied").count() == 1
    assert [now_in_database(row).decision for row in (taken, stale, demanding)] == ["approved", "pending", "pending"]
    assert AuditEvent.objects.filter(approval_id=demanding.pk, event="approval.passkey_missing").count() == 1


def test_a_database_that_fails_at_one_of_them_keeps_none_of_the_others_and_it_is_said_of_each(
    scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the commit, after it, and so that nobody can look."""
    first, before, after, lost, last = (scene.submit({"n": n}) for n in range(5))
    deny, look = services.deny, ApprovalRequest.objects.filter

    def breaking(*, approval_id: Any, **rest: Any) -> ApprovalRequest:
        if approval_id in {before.pk, lost.pk}:
            raise OperationalError("the connection is lost")
        denied = deny(approval_id=approval_id, **rest)
        if approval_id == after.pk:
            raise InterfaceError("the connection is closed")
        return denied

    def blind(**wanted: Any) -> Any:
        if wanted.get("pk") == lost.pk and "decided_at" in wanted:
            raise OperationalError("the database is away")
        return look(**wanted)

    monkeypatch.setattr(services, "deny", breaking)
    monkeypatch.setattr(ApprovalRequest.objects, "filter", blind)
    response = deny_selected(admin, first, before, after, lost, last)
    assert response.status_code == 303
    html = admin.get("/approvals").content.decode()
    for sentence in (
        "Denied 3 calls. Nothing was sent.",
        f"{before.digest[:12]}: It could not be denied, nothing changed: try again.",
        f"{lost.digest[:12]}: The database did not say whether it was denied: look at it again.",
    ):
        assert sentence in html
    rows = [now_in_database(row).decision for row in (first, before, after, lost, last)]
    assert rows == ["denied", "pending", "denied", "pending", "denied"]


def test_what_may_not_be_denied_together_is_not_decided_at_all(
    scene: Scene, admin: Client, stranger: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (scene.submit({"n": n}) for n in range(2))
    other = scene.submit({"n": 1}, agent=scene.add_agent("other"))
    gone = ApprovalRequest(pk=uuid4(), digest=first.digest)
    assert [client.get("/approvals/deny").status_code for client in (admin, stranger)] == [405, 405]
    assert deny_selected(stranger, first).status_code == 404
    assert deny_selected(admin, first, gone).status_code == 404
    assert admin.post("/approvals/deny", {"selected": "x"}).status_code == 404
    assert deny_selected(signed_in(scene.admin, enforce_csrf_checks=True), first).status_code == 403
    monkeypatch.setattr("approvals.together.MOST_CARDS", 1)
    for client, rows, sentence in (
        (admin, (first, other), "No more than 1 calls are denied at once."),
        (admin, (), "Nothing was selected."),
        (signed_in(scene.auditor), (first,), "Your role reads only."),
    ):
        assert deny_selected(client, *rows).status_code == 303
        assert f"{sentence} Nothing was decided." in client.get("/approvals").content.decode()
    monkeypatch.setattr("approvals.together.MOST_CARDS", 50)
    deny_selected(admin, first, other, second)
    assert "Only calls of one agent are denied together." in admin.get("/approvals").content.decode()
    assert {now_in_database(row).decision for row in (first, second, other)} == {Decision.PENDING}
