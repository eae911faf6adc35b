"""Delegates and their links: through a real mail server, and through HTTP as whoever has the link."""

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
from approvals import magic_links, transitions
from approvals.execution import execute
from approvals.link_tokens import MagicLink
from approvals.models import ApprovalRequest, Decision
from approvals.services import approve
from approvals.tasks import sweep
from audit.models import AuditEvent
from notifications import outbox
from notifications.deliveries import Channel, Delivery
from platforms.models import Scope
from tests.approvals.test_races import ROUNDS, together
from tests.mail_fixtures import MailServer
from tests.pages.spoofs import SPOOFS
from tests.world import CountingPlatform, Side, make_side, submit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_manifest(settings: Settings) -> None:
    """These pages are read for their words; their style sheets need not be collected."""
    settings.STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


def delegate_of(side: Side, email: str = "dana@elsewhere.example") -> Delegate:
    return delegates.add(member=side.admin, email=email, request_id=uuid4(), now=timezone.now())


def send_due() -> None:
    now = timezone.now()
    for pk in outbox.due(channel=Channel.MAIL, now=now).values_list("pk", flat=True):
        magic_links.mail(delivery_id=pk, now=now)


def open_link(token: str, client: Client | None = None, **extra: Any) -> Any:
    return (client or Client()).get("/approve", {"token": token}, **extra)


def fields_of(page: Any) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.content.decode()))


def press(token: str, decision: str, **change: str) -> Any:
    """Open the link in a fresh browser and press a button."""
    client = Client(enforce_csrf_checks=True)
    fields = fields_of(open_link(token, client))
    headers = {"Origin": "null"}  # what browsers send from a page without a Referer
    return client.post("/approve", fields | {"decision": decision} | change, headers=headers)


def now_in_database(approval: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=approval.pk)


@pytest.fixture
def asked(acme: Side, mail_server: MailServer) -> tuple[ApprovalRequest, str]:
    """A call that waits, and the token that a delegate was sent."""
    delegate_of(acme)
    approval = submit(acme, body='{"text":"the words of the call"}')
    send_due()
    return approval, mail_server.tokens[0]


def test_a_delegate_gets_one_plain_message_with_one_link(acme: Side, stranger: Side, mail_server: MailServer) -> None:
    delegate_of(acme)
    delegate_of(stranger, "other@elsewhere.example")
    paused = delegate_of(acme, "paused@elsewhere.example")
    delegates.set_active(member=acme.admin, delegate_id=paused.pk, active=False, request_id=uuid4(), now=timezone.now())
    approval = submit(acme, body='{"text":"the words of the call"}')
    for _ in range(3):
        send_due()
    sweep()
    (message,) = mail_server.messages
    assert message["Subject"].strip() == "Approval required: Acme bot → acme-chat/chat:write"
    assert message["To"] == "dana@elsewhere.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    text = message.get_content()
    assert text.count("http") == 1
    assert text.count("http://localhost:8080/approve?token=lnk_") == 1
    assert len(text.split()) < 60  # a paragraph and the link
    assert "the words of the call" not in text
    link = MagicLink.objects.get()
    assert mail_server.tokens[0] not in str(vars(link))
    assert link.approval_id == approval.pk
    delivery = Delivery.objects.get()
    assert (delivery.recipient, delivery.failure) == ("dana@elsewhere.example", "")
    assert delivery.arrived_at is not None


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


def test_a_form_without_a_button_approves_nothing(asked: tuple[ApprovalRequest, str]) -> None:
    approval, token = asked
    press(token, "")
    assert now_in_database(approval).decision == Decision.DENIED


def test_what_needs_a_passkey_no_delegate_decides(asked: tuple[ApprovalRequest, str]) -> None:
    approval, token = asked
    client = Client()
    fields = fields_of(open_link(token, client))
    Scope.objects.update(step_up="passkey")
    answer = client.post("/approve", fields | {"decision": "approve"})
    assert answer.status_code == 403
    assert "a passkey, which a delegate has none of. Nothing was decided." in answer.content.decode()
    assert 'value="approve"' not in open_link(token).content.decode()
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


def test_links_name_our_own_site_whatever_host_was_asked_for(
    acme: Side, mail_server: MailServer, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://valet.example.com"
    delegate_of(acme)
    submit(acme)
    send_due()
    assert "https://valet.example.com/approve?token=" in mail_server.messages[0].get_content()
    assert open_link(mail_server.tokens[0], headers={"Host": "evil.example"}).status_code == 400
    page = open_link(mail_server.tokens[0], headers={"X-Forwarded-Host": "evil.example"})
    assert "evil.example" not in page.content.decode()


@pytest.mark.parametrize("spoof", SPOOFS, ids=[spoof.name for spoof in SPOOFS])
def test_a_name_can_neither_add_a_header_nor_mislead(acme: Side, mail_server: MailServer, spoof: Any) -> None:
    delegate_of(acme)
    acme.agent.name = f"bot {spoof.text} bot"
    acme.agent.save()
    submit(acme)
    send_due()
    (message,) = mail_server.messages
    assert message["Subject"].strip().startswith("Approval required: bot ")
    assert message["Subject"].endswith(" → acme-chat/chat:write")
    assert set(message.keys()) == {
        "Content-Type", "MIME-Version", "Content-Transfer-Encoding", "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Peer",
    } - ({"X-Peer"} - set(message.keys()))  # fmt: skip
    assert message.get_content().count("http") == 1 + message.get_content().count("https⟦U+003A⟧")


@pytest.mark.parametrize(
    "name",
    ["x\r\nBcc: all@evil.example", "x\nSubject: y", "http://evil.example/approve?token=1", "mail me@evil.example"],
)
def test_a_name_is_no_link_and_no_header(acme: Side, mail_server: MailServer, name: str) -> None:
    delegate_of(acme)
    acme.agent.name = name
    acme.agent.save()
    submit(acme)
    send_due()
    (message,) = mail_server.messages
    assert message["Bcc"] is None
    assert "http://evil" not in message.get_content()
    assert "evil.example" not in message.get_content()
    assert "@evil" not in message.get_content()
    assert message.get_content().count("/approve?token=lnk_") == 1


def test_nothing_is_mailed_after_the_decision(acme: Side, mail_server: MailServer) -> None:
    delegate_of(acme)
    approval = submit(acme)
    approve(member=acme.admin, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())
    send_due()
    assert mail_server.messages == []
    assert not MagicLink.objects.exists()


@pytest.mark.parametrize(
    ("email", "failure", "again"),
    [
        ("full@elsewhere.example", "The mail server refused the address (550).", False),
        ("busy@elsewhere.example", "The mail server refused the address (450).", True),
    ],
)
def test_a_refused_message_says_why_and_comes_again_where_that_helps(
    acme: Side, mail_server: MailServer, email: str, failure: str, again: bool
) -> None:
    delegate_of(acme, email)
    submit(acme)
    send_due()
    delivery = Delivery.objects.get()
    assert delivery.failure == failure
    assert (delivery.next_try_at is not None) == again


def test_a_mail_server_that_is_away_gets_it_later(acme: Side, mail_server: MailServer, settings: Settings) -> None:
    delegate_of(acme)
    submit(acme)
    settings.EMAIL_PORT = 1
    send_due()
    delivery = Delivery.objects.get()
    assert delivery.failure == "The mail server did not take the message."
    settings.EMAIL_PORT = mail_server.port
    assert delivery.next_try_at is not None
    magic_links.mail(delivery_id=delivery.pk, now=delivery.next_try_at)
    assert len(mail_server.messages) == 1
    assert open_link(mail_server.tokens[0]).status_code == 200


def test_who_tries_many_links_has_to_wait(asked: tuple[ApprovalRequest, str], settings: Settings) -> None:
    settings.ANONYMOUS_PER_MINUTE = 3
    _, token = asked
    statuses = [open_link(token).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


@pytest.mark.django_db(transaction=True)
def test_of_a_link_and_a_button_one_wins(
    transactional_db: None, platform: CountingPlatform, mail_server: MailServer
) -> None:
    acme = make_side("Acme", base_url=platform.url, token=platform.token)
    delegate_of(acme)
    for round_ in range(ROUNDS):
        approval = submit(acme, body=f'{{"round":{round_}}}')
        send_due()
        token = mail_server.tokens[-1]
        client = Client()
        fields = fields_of(open_link(token, client))
        button = partial(
            approve,
            member=acme.admin,
            approval_id=approval.pk,
            digest=approval.digest,
            via="dashboard",
            now=timezone.now(),
        )
        list(together(partial(client.post, "/approve", fields | {"decision": "deny"}), button))
        row = now_in_database(approval)
        events = AuditEvent.objects.filter(approval_id=approval.pk, event__in=["approval.approved", "approval.denied"])
        assert [event.event for event in events] == [f"approval.{row.decision}"]
        assert row.decided_via == {"approved": "dashboard", "denied": "magic_link"}[row.decision]
