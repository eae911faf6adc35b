"""What delegates are mailed: through a real mail server, once, with nothing in it that misleads."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents import delegates
from agents.passkey_models import Passkey
from agentvalet.startup import StartRefused, check_settings
from approvals import magic_links
from approvals.link_tokens import MagicLink
from approvals.models import ApprovalRequest, Decision
from approvals.services import approve
from approvals.tasks import sweep
from notifications import outbox
from notifications.deliveries import Delivery
from notifications.models import Notification
from platforms.models import Scope
from tests.approvals.links import delegate_of, fields_of, open_link, send_due
from tests.mail_fixtures import MailServer
from tests.pages.passkeys import Person
from tests.pages.spoofs import SPOOFS
from tests.world import Side, submit

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_manifest(settings: Settings) -> None:
    """These pages are read for their words; their style sheets need not be collected."""
    settings.STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


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
    [
        "x\r\nBcc: all@evil.example",
        "x\nSubject: y",
        "http://evil.example/approve?token=1",
        "mail me@evil.example",
        "evil\u3002example",
        "evil\uff0eexample/x",
        "evil\uff61example",
        "evil\u2024example",
        "192.0.2.7/approve",
        "see 3232235777.0.0.1",
        r"\\192.0.2.7\share",
    ],
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
    for text in (message["Subject"], message.get_content().partition("http://localhost")[0]):
        assert not re.search(r"\w[.\u3002\uff0e\uff61\u2024](?:example|0)|\d\.2|@|://|\\\\", text), text


def test_a_version_in_a_name_stays_readable() -> None:
    assert magic_links.unlinked("bot v1.2 (3.4.5)") == "bot v1.2 (3.4.5)"


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


def test_a_slow_mail_server_gets_one_message(acme: Side, mail_server: MailServer) -> None:
    """Nobody else takes the message up for as long as the dialogue may last; an answer that is late counts."""
    delegate_of(acme)
    submit(acme)
    now = timezone.now()
    sending = outbox.claim(delivery_id=Delivery.objects.get().pk, now=now)
    assert sending is not None
    last_answer = now + timedelta(seconds=14 * 10)  # EMAIL_TIMEOUT for each
    assert outbox.claim(delivery_id=sending.pk, now=last_answer) is None
    other = outbox.claim(delivery_id=sending.pk, now=last_answer + timedelta(seconds=30))
    assert other is not None
    outbox.arrived(sending, now=now)
    outbox.failed(other, failure="late", now=now)
    row = Delivery.objects.get()
    assert (row.arrived_at, row.failure, row.next_try_at) == (now, "", None)


def test_attempts_that_never_end_have_an_end(acme: Side, mail_server: MailServer) -> None:
    delegate_of(acme)
    submit(acme)
    now, claimed = timezone.now(), 0
    Notification.objects.update(expires_at=now + timedelta(days=1))
    while (at := Delivery.objects.get().next_try_at) is not None:
        claimed += outbox.claim(delivery_id=Delivery.objects.get().pk, now=max(at, now)) is not None
    assert claimed == len(outbox.BACKOFF) + 1
    assert Delivery.objects.get().failure == "No attempt to send it has come to an end."


def test_what_may_have_arrived_is_sent_once_more_only(acme: Side, mail_server: MailServer) -> None:
    delegate_of(acme, "lost@elsewhere.example")
    submit(acme)
    now = timezone.now()
    while (at := Delivery.objects.get().next_try_at) is not None:
        magic_links.mail(delivery_id=Delivery.objects.get().pk, now=max(at, now))
    assert len(mail_server.messages) == 2
    assert Delivery.objects.get().failure == "The mail server broke off: the message may have arrived."


def test_a_sender_that_is_no_address_is_said_on_the_card(
    acme: Side, mail_server: MailServer, settings: Settings
) -> None:
    settings.DEFAULT_FROM_EMAIL = "Acme, Inc. <valet@acme.example>"
    delegate_of(acme)
    submit(acme)
    send_due()
    row = Delivery.objects.get()
    assert (row.failure, row.attempts) == ("The message could not be put together; the server's log says why.", 1)
    with pytest.raises(StartRefused, match="AGENTVALET_EMAIL_FROM"):
        check_settings()


def test_without_a_mail_server_nothing_is_said_to_have_arrived(acme: Side, settings: Settings, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    delegate_of(acme)
    submit(acme)
    send_due()
    row = Delivery.objects.get()
    assert (row.arrived_at, row.failure) == (None, "No mail server is set up: the message stays on this server.")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("why", ["the scope demands a passkey", "the mailbox is that of a member with one"])
def test_a_link_that_cannot_decide_says_so_and_what_to_do(acme: Side, mail_server: MailServer, why: str) -> None:
    if "scope" in why:
        Scope.objects.update(step_up="passkey")
    else:
        Person(acme.approver).register()
    delegate_of(acme, "Approver@acme.example")
    approval = submit(acme)
    send_due()
    assert "the link shows it and decides nothing" in mail_server.messages[0].get_content().replace("\n", " ")
    client = Client()
    page = open_link(mail_server.tokens[0], client)
    assert f'href="/approvals/{approval.pk}"' in page.content.decode()
    assert "<form" not in page.content.decode()
    Scope.objects.update(step_up="")
    Passkey.objects.all().delete()
    other = submit(acme, body='{"n":2}')
    send_due()
    fields = fields_of(open_link(mail_server.tokens[1], client))
    if "scope" in why:
        Scope.objects.update(step_up="passkey")
    else:
        Person(acme.approver).register()
    for decision in ("approve", "deny"):
        assert client.post("/approve", fields | {"decision": decision}).status_code == 403
    assert ApprovalRequest.objects.get(pk=other.pk).decision == Decision.PENDING
