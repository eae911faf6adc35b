"""Delegates' links, through HTTP as whoever has the link. What is mailed: test_link_mail."""

import re
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import delegates
from agents.delegate_model import Delegate
from approvals import link_views, magic_links, runs, transitions
from approvals.execution import execute
from approvals.models import ApprovalRequest, Decision
from approvals.services import approve, send_again
from audit.models import AuditEvent
from platforms.models import Scope
from tests.approvals.links import delegate_of, fields_of, now_in_database, open_link, press, send_due
from tests.mail_fixtures import MailServer
from tests.world import CountingPlatform, Side, submit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_manifest(settings: Settings) -> None:
    """These pages are read for their words; their style sheets need not be collected."""
    settings.STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


@pytest.fixture
def asked(acme: Side, mail_server: MailServer) -> tuple[ApprovalRequest, str]:
    """A call that waits, and the token that a delegate was sent."""
    delegate_of(acme)
    approval = submit(acme, body='{"text":"the words of the call"}')
    send_due()
    return approval, mail_server.tokens[0]


def test_the_page_shows_the_whole_call_and_decides_nothing(
    asked: tuple[ApprovalRequest, str], acme: Side, platform: CountingPlatform
) -> None:
    approval, token = asked
    pages = [open_link(token) for _ in range(10)]  # mail scanners, previews, the delegate
    for page in pages:
        html = page.content.decode()
        for shown in ("Acme bot", "Acme", "acme-chat", "chat:write", "the words of the call", approval.digest):
            assert shown in html
        assert page["Referrer-Policy"] == "no-referrer"
        assert "no-store" in page["Cache-Control"]
    assert now_in_database(approval).decision == Decision.PENDING
    done = press(token, "approve")
    assert "Approved. The call is on its way." in done.content.decode()
    row = now_in_database(approval)
    assert (row.decision, row.decided_by, row.decided_via) == (
        Decision.APPROVED, "dana@elsewhere.example", "magic_link",
    )  # fmt: skip
    event = AuditEvent.objects.get(event="approval.approved")
    assert (event.actor_kind, event.actor_label) == ("delegate", "dana@elsewhere.example")
    execute(approval_id=approval.pk, now=timezone.now())
    assert len(platform.requests) == 1


def test_deny_hands_on_the_reason(asked: tuple[ApprovalRequest, str]) -> None:
    approval, token = asked
    assert "Denied. Nothing was sent." in press(token, "deny", reason=" Not\0 today ").content.decode()
    row = now_in_database(approval)
    assert (row.decision, row.deny_reason) == (Decision.DENIED, "Not today")


def test_a_used_link_says_who_decided_and_when(asked: tuple[ApprovalRequest, str]) -> None:
    approval, token = asked
    client = Client()
    fields = fields_of(open_link(token, client))
    press(token, "approve")
    row = now_in_database(approval)
    assert row.decided_at is not None
    sentence = f"Already approved by dana@elsewhere.example at {row.decided_at:%H:%M} UTC."
    for again in (open_link(token), client.post("/approve", fields | {"decision": "deny"})):
        assert sentence in again.content.decode()
        assert "the words of the call" not in again.content.decode()
    assert (open_link(token).status_code, again.status_code) == (200, 409)
    assert now_in_database(approval).decision == Decision.APPROVED
    assert AuditEvent.objects.filter(event__in=["approval.approved", "approval.denied"]).count() == 1


def test_a_link_to_what_somebody_else_decided_says_so(asked: tuple[ApprovalRequest, str], acme: Side) -> None:
    approval, token = asked
    approve(member=acme.admin, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())
    assert "Already approved by admin@acme.example at" in open_link(token).content.decode()


TAMPERED = {
    "nothing": lambda token: "",
    "one letter more": lambda token: f"{token}x",
    "one letter less": lambda token: token[:-1],
    "another letter": lambda token: f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}",
    "upper case": lambda token: token.upper(),
    "without its prefix": lambda token: token.removeprefix("lnk_"),
    "a NUL": lambda token: f"{token}\0",
    "a space": lambda token: f" {token}",
    "long": lambda token: "x" * 100_000,
    "surrogate": lambda token: "\udcff",
    "made up": lambda token: f"lnk_{'A' * 43}",
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED.keys())
def test_a_link_that_is_not_known_is_a_plain_not_found(asked: tuple[ApprovalRequest, str], change: Any) -> None:
    approval, token = asked
    client = Client()
    fields = fields_of(open_link(token, client))
    wrong = change(token).encode("utf-8", "surrogateescape").decode("latin-1")
    answers = [
        client.get("/approve", {"token": wrong}),
        client.post("/approve", fields | {"token": wrong, "decision": "approve"}),
    ]
    for answer in answers:
        assert answer.status_code == 404
        assert "There is nothing here" in answer.content.decode()
    assert now_in_database(approval).decision == Decision.PENDING


@pytest.mark.parametrize("how", ["expired", "overdue", "paused", "removed"])
def test_a_dead_link_is_a_plain_not_found(asked: tuple[ApprovalRequest, str], acme: Side, how: str) -> None:
    approval, token = asked
    client = Client()
    fields = fields_of(open_link(token, client))
    delegate = Delegate.objects.get()
    if how == "paused":
        Delegate.objects.update(is_active=False)
    elif how == "removed":
        delegates.remove(member=acme.admin, delegate_id=delegate.pk, request_id=uuid4(), now=timezone.now())
    else:
        ApprovalRequest.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        if how == "expired":
            transitions.expire_due(now=timezone.now())
    assert open_link(token).status_code == 404
    assert client.post("/approve", fields | {"decision": "approve"}).status_code == 404
    assert now_in_database(approval).decision != Decision.APPROVED


def test_a_link_decides_on_its_own_call_only(asked: tuple[ApprovalRequest, str], acme: Side) -> None:
    approval, token = asked
    other = submit(acme, body='{"text":"another"}')
    answer = press(token, "approve", digest=other.digest)
    assert answer.status_code == 409
    assert "This call is not the one you were shown." in answer.content.decode()
    assert {now_in_database(row).decision for row in (approval, other)} == {Decision.PENDING}


@pytest.mark.parametrize(
    "change", [{"form": ""}, {"form": "0" * 64}, {"form": "é"}, {"digest": ""}, {"digest": "0" * 64}, {"digest": "\0"}]
)
def test_a_form_that_is_not_from_our_page_decides_nothing(
    asked: tuple[ApprovalRequest, str], change: dict[str, str]
) -> None:
    approval, token = asked
    assert press(token, "approve", **change).status_code in {403, 409}
    assert now_in_database(approval).decision == Decision.PENDING


def test_another_browser_cannot_send_the_form(asked: tuple[ApprovalRequest, str]) -> None:
    approval, token = asked
    fields = fields_of(open_link(token))
    answer = Client().post("/approve", fields | {"decision": "approve"})
    assert answer.status_code == 403
    assert "open the link again" in answer.content.decode()
    assert now_in_database(approval).decision == Decision.PENDING


@pytest.mark.parametrize("sent", [{"decision": ""}, {"decision": "approve", "reason": "No, the wrong person"}])
def test_who_gives_a_reason_or_presses_no_button_approves_nothing(
    asked: tuple[ApprovalRequest, str], sent: dict[str, str]
) -> None:
    approval, token = asked
    press(token, **sent)
    row = now_in_database(approval)
    assert (row.decision, row.deny_reason) == (Decision.DENIED, sent.get("reason", ""))


def test_enter_in_the_reason_denies(asked: tuple[ApprovalRequest, str]) -> None:
    """Browsers press the first button of the form that a field is in."""
    forms = re.findall(r"<form.*?</form>", open_link(asked[1]).content.decode(), re.DOTALL)
    buttons = [re.findall(r'name="decision" value="(\w+)"|name="(reason)"', form) for form in forms]
    assert buttons == [[("approve", "")], [("deny", ""), ("", "reason")]]


def test_a_second_tab_from_webmail_leaves_the_first_one_good(asked: tuple[ApprovalRequest, str]) -> None:
    cookie = open_link(asked[1]).cookies["agentvalet_link"]
    assert (cookie["samesite"], cookie["httponly"], cookie["path"]) == ("Lax", True, "/approve")


def test_a_delegate_is_warned_of_a_call_that_may_have_been_made(acme: Side, mail_server: MailServer) -> None:
    first = approve(
        member=acme.admin, approval_id=(row := submit(acme)).pk, digest=row.digest, via="dashboard", now=timezone.now()
    )
    runs.claim(approval_id=first.pk, now=timezone.now())
    runs.lose(approval_id=first.pk, error=runs.OUTCOME_UNKNOWN, reason="worker_lost", now=timezone.now())
    delegate_of(acme)
    send_again(member=acme.admin, approval_id=first.pk, requester_address=None, request_id=uuid4(), now=timezone.now())
    send_due()
    assert "it may have happened" in open_link(mail_server.tokens[0]).content.decode()


def test_what_needs_a_passkey_no_delegate_decides(asked: tuple[ApprovalRequest, str]) -> None:
    approval, token = asked
    client = Client()
    fields = fields_of(open_link(token, client))
    Scope.objects.update(step_up="passkey")
    answer = client.post("/approve", fields | {"decision": "approve"})
    assert answer.status_code == 403
    assert (
        "This is decided on with a passkey, by somebody who is signed in. Nothing was decided."
        in answer.content.decode()
    )
    assert 'value="approve"' not in open_link(token).content.decode()
    assert now_in_database(approval).decision == Decision.PENDING
    client.post("/approve", fields | {"decision": "deny"})
    row = AuditEvent.objects.get(event="approval.passkey_missing")  # once a minute
    assert (row.actor_kind, row.actor_label) == ("delegate", "dana@elsewhere.example")


@pytest.mark.parametrize("how", ["paused", "removed"])
def test_a_delegate_who_was_one_when_the_page_was_sent_for_decides_nothing(
    asked: tuple[ApprovalRequest, str], acme: Side, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    approval, token = asked
    change: Any = delegates.remove if how == "removed" else partial(delegates.set_active, active=False)

    def follow_and_lose(**asked_for: Any) -> Any:
        found = magic_links.follow(**asked_for)
        change(member=acme.admin, delegate_id=found[1].pk, request_id=uuid4(), now=timezone.now())
        return found

    client = Client()
    fields = fields_of(open_link(token, client))
    monkeypatch.setattr(link_views, "follow", follow_and_lose)
    assert client.post("/approve", fields | {"decision": "deny"}).status_code == 404
    assert now_in_database(approval).decision == Decision.PENDING


@pytest.mark.parametrize("how", ["paused", "removed"])
def test_a_delegate_who_is_none_any_more_has_approved_nothing_that_is_run(
    asked: tuple[ApprovalRequest, str], acme: Side, platform: CountingPlatform, how: str
) -> None:
    approval, token = asked
    press(token, "approve")
    delegate = Delegate.objects.get()
    change: Any = delegates.remove if how == "removed" else partial(delegates.set_active, active=False)
    change(member=acme.admin, delegate_id=delegate.pk, request_id=uuid4(), now=timezone.now())
    execute(approval_id=approval.pk, now=timezone.now())
    assert platform.requests == []
    assert "may no longer decide" in (now_in_database(approval).execution_error or "")


def test_who_tries_many_links_has_to_wait(asked: tuple[ApprovalRequest, str], settings: Settings) -> None:
    settings.ANONYMOUS_PER_MINUTE = 3
    _, token = asked
    statuses = [open_link(token).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
