"""/settings/members and /join: who belongs to an owner, and how somebody comes to."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.cli import confirm_login, exchange_code
from agents.models import CliToken, Member, Role, User
from agents.people_models import Invitation
from approvals import execution
from audit.models import AuditEvent
from tests.pages import asks
from tests.pages.scene import PASSWORD, Scene, make_scene, signed_in
from tests.world import make_member

LINK = re.compile(r"http://localhost:8080/join\?token=(join_[\w-]{43})")
NEW = "a quite different phrase"


def invite(client: Client, email: str = "new@acme.example", role: str = "approver") -> Any:
    return client.post("/settings/members/invite", {"email": email, "role": role})


def token_of(response: Any) -> str:
    found = LINK.search(response.content.decode())
    assert found
    return found[1]


def join(client: Client, token: str, password: str = NEW, **more: str) -> Any:
    return client.post("/join", {"token": token, "name": "New", "password": password, "again": password, **more})


def role_of(member: Member) -> str:
    return Member.objects.get(pk=member.pk).role


def told(client: Client, response: Any) -> str:
    text = asks.told(client, response, at="/settings/members", status=302)
    return str(re.findall(r'<ul class="notices" role="status"><li[^>]*>(.*?)</li>', text)[0])


def events(scene: Scene) -> list[str]:
    return list(AuditEvent.objects.filter(owner_id=scene.owner.pk).order_by("seq").values_list("event", flat=True))


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
def test_every_role_sees_who_is_there_and_only_an_admin_has_buttons(scene: Scene, role: str) -> None:
    make_scene("Other")
    text = signed_in(scene.members[role]).get("/settings/members").content.decode()
    assert all(member.user.email in text for member in scene.members.values())
    assert "other.example" not in text
    assert ("Invite somebody" in text, "Remove" in text) == (role == "admin", role == "admin")


# --- Inviting


def test_without_a_mail_server_the_link_is_shown_once_to_the_admin(scene: Scene, admin: Client) -> None:
    response = invite(admin, " New@ACME.example ")
    token = token_of(response)
    assert mail.outbox == []
    text = admin.get("/settings/members").content.decode()
    assert "new@acme.example" in text
    assert token not in text
    assert token not in str(list(Invitation.objects.values())) + str(list(AuditEvent.objects.values()))
    event = AuditEvent.objects.get(event="member.invited")
    assert (event.actor_label, event.metadata) == (
        "admin@acme.example",
        {"email": "new@acme.example", "role": "approver"},
    )


def test_with_one_the_link_goes_to_the_person_alone(scene: Scene, admin: Client, settings: Settings) -> None:
    settings.EMAIL_IS_SENT = True
    response = invite(admin)
    assert told(admin, response) == "An invitation is on its way to new@acme.example."
    (message,) = mail.outbox
    assert (message.to, message.subject) == (["new@acme.example"], "Invitation to Acme on AgentValet")
    assert LINK.search(str(message.body))
    assert "join_" not in admin.get("/settings/members").content.decode()


def test_a_mail_server_that_fails_costs_nobody_the_link(
    scene: Scene, admin: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_IS_SENT = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 9, 1
    token = token_of(invite(admin))
    assert token not in caplog.text
    assert "could not be mailed" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_no_mail_is_sent_inside_a_transaction(
    scene: Scene, admin: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def send(*_: object, **__: object) -> int:
        seen.append(connection.in_atomic_block)
        return 1

    monkeypatch.setattr("agents.mail.send_mail", send)
    settings.EMAIL_IS_SENT = True
    invite(admin)
    assert seen == [False]


def test_the_name_of_an_owner_writes_no_header(scene: Scene, admin: Client, settings: Settings) -> None:
    settings.EMAIL_IS_SENT = True
    scene.owner.name = "Acme\r\nBcc: evil@evil.example\u202e"
    scene.owner.save()
    invite(admin)
    (message,) = mail.outbox
    assert "\n" not in message.subject
    assert message.recipients() == ["new@acme.example"]
    assert "⟦U+202E⟧" in message.subject


def test_the_link_is_under_our_own_name_whatever_host_was_asked(admin: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    response = admin.post(
        "/settings/members/invite", {"email": "new@acme.example", "role": "admin"}, headers={"host": "evil.example"}
    )
    assert token_of(response)
    assert "evil.example" not in response.content.decode()


@pytest.mark.parametrize(
    ("email", "role"),
    [
        ("", "admin"),
        ("x", "admin"),
        ("a@b.example", "owner"),
        ("a@b.example", ""),
        (f"{'a' * 250}@b.example", "admin"),
        ("a\0@b.example", "admin"),
    ],
)
def test_an_invitation_that_makes_no_sense_is_refused(admin: Client, email: str, role: str) -> None:
    assert invite(admin, email, role).status_code == 400
    assert Invitation.objects.count() == 0


def test_a_member_is_not_invited_again(scene: Scene, admin: Client) -> None:
    assert "is a member already" in invite(admin, "Approver@acme.example").content.decode()
    assert Invitation.objects.count() == 0


def test_invitations_have_an_end(scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.members.MOST_INVITATIONS", 2)
    for number in range(2):
        invite(admin, f"{number}@acme.example")
    assert "2 invitations are open" in invite(admin, "3@acme.example").content.decode()
    assert invite(admin, "1@acme.example").status_code == 200


# --- Joining


def test_a_new_person_chooses_a_password_and_is_in(scene: Scene, admin: Client) -> None:
    token = token_of(invite(admin))
    browser = Client()
    page = browser.get("/join", {"token": token})
    assert (page.status_code, page["Referrer-Policy"], "no-store" in page["Cache-Control"]) == (
        200,
        "no-referrer",
        True,
    )
    assert "Acme" in page.content.decode()
    assert join(browser, token)["Location"] == "/approvals"
    assert browser.get("/approvals").status_code == 200
    member = Member.objects.get(user__email="new@acme.example")
    assert (member.owner, member.role, member.user.name, member.user.is_staff) == (
        scene.owner,
        "approver",
        "New",
        False,
    )
    event = AuditEvent.objects.get(event="member.joined")
    assert (event.actor_label, event.metadata["invited_by"]) == ("new@acme.example", "admin@acme.example")


def test_looking_at_the_link_ten_times_uses_nothing_up(admin: Client) -> None:
    token = token_of(invite(admin))
    for _ in range(10):
        assert Client().get("/join", {"token": token}).status_code == 200
        assert Client().head(f"/join?token={token}").status_code == 200
    assert join(Client(), token).status_code == 302


def test_a_link_is_good_once(admin: Client) -> None:
    token = token_of(invite(admin))
    join(Client(), token)
    assert Client().get("/join", {"token": token}).status_code == 404
    assert join(Client(), token).status_code == 404
    assert Member.objects.filter(user__email="new@acme.example").count() == 1


DEAD = ["expired", "withdrawn", "asked anew", "inviter demoted", "inviter removed", "inviter inactive", "tampered", ""]


@pytest.mark.parametrize("why", DEAD)
def test_a_dead_link_is_a_plain_not_found(scene: Scene, admin: Client, why: str) -> None:
    boss = signed_in(make_member(scene.owner, "boss@acme.example", Role.ADMIN))
    token = token_of(invite(admin))
    invitation = Invitation.objects.get()
    match why:
        case "expired":
            Invitation.objects.update(expires_at=timezone.now())
        case "withdrawn":
            boss.post(f"/settings/invitations/{invitation.pk}/withdraw")
        case "asked anew":
            invite(boss)
        case "inviter demoted":
            boss.post(f"/settings/members/{scene.admin.pk}/role", {"role": "approver"})
        case "inviter removed":
            boss.post(f"/settings/members/{scene.admin.pk}/remove")
        case "inviter inactive":
            User.objects.filter(pk=scene.admin.user_id).update(is_active=False)
        case _:
            token = token[:-1] + ("A" if token[-1] != "A" else "B") if why else ""
    assert Client().get("/join", {"token": token}).status_code == 404
    assert join(Client(), token).status_code == 404
    assert not User.objects.filter(email="new@acme.example").exists()


def test_seventy_two_hours_and_no_longer(admin: Client) -> None:
    invite(admin)
    invitation = Invitation.objects.get()
    assert invitation.expires_at - invitation.created_at == timedelta(hours=72)


@pytest.mark.parametrize("password", ["short", "password1234", "new@acme.example", "", "\0" * 12])
def test_a_bad_password_makes_no_account(admin: Client, password: str) -> None:
    token = token_of(invite(admin))
    assert join(Client(), token, password).status_code == 400
    assert not User.objects.filter(email="new@acme.example").exists()
    assert join(Client(), token).status_code == 302


def test_whoever_has_an_account_joins_with_it_and_nobody_else_does(scene: Scene, admin: Client) -> None:
    other = make_scene("Other")
    token = token_of(invite(admin, other.approver.user.email, "auditor"))
    thief, page = Client(), Client().get("/join", {"token": token}).content.decode()
    assert "This address has an account here" in page
    assert 'name="password"' not in page
    for client in (thief, signed_in(other.admin)):
        assert "Sign in with your account first." in join(client, token).content.decode()
    other.approver.user.refresh_from_db()
    assert other.approver.user.check_password(PASSWORD)
    owner = signed_in(other.approver)
    assert 'name="password"' not in owner.get("/join", {"token": token}).content.decode()
    assert owner.post("/join", {"token": token}).status_code == 302
    assert Member.objects.get(owner=scene.owner, user=other.approver.user).role == "auditor"


def test_joining_is_a_post_of_our_own_form(admin: Client) -> None:
    token = token_of(invite(admin))
    assert join(Client(enforce_csrf_checks=True), token).status_code == 403
    assert Invitation.objects.count() == 1


def test_guessing_at_links_is_held_back(db: None) -> None:
    answers = [Client().get("/join", {"token": f"join_{number}"}).status_code for number in range(40)]
    assert (answers[0], answers[-1]) == (404, 429)


# --- Roles, and leaving


def test_a_role_holds_from_the_next_request_on(scene: Scene, admin: Client) -> None:
    approval = scene.submit({"n": 1})
    approver = signed_in(scene.approver)
    assert told(admin, admin.post(f"/settings/members/{scene.approver.pk}/role", {"role": "auditor"}))
    approver.post(f"/approvals/{approval.pk}/approve", {"digest": approval.digest})
    approval.refresh_from_db()
    assert approval.decision == "pending"
    assert User.objects.get(pk=scene.approver.user_id).is_staff  # an auditor may look into /admin
    event = AuditEvent.objects.get(event="member.role_changed")
    assert event.metadata == {"email": "approver@acme.example", "from": "approver", "to": "auditor"}
    admin.post(f"/settings/members/{scene.approver.pk}/role", {"role": "auditor"})
    assert events(scene).count("member.role_changed") == 1


def test_who_is_removed_is_out_at_once(scene: Scene, admin: Client) -> None:
    approver = signed_in(scene.approver)
    state = uuid4()
    code = confirm_login(member=scene.approver, state=state, now=timezone.now())
    exchange_code(state=state, code=code, request_id=uuid4(), now=timezone.now())
    sentence = told(admin, admin.post(f"/settings/members/{scene.approver.pk}/remove"))
    assert sentence == "approver@acme.example is removed, and signed out."
    assert approver.get("/approvals").status_code == 302
    assert not CliToken.objects.exists()
    assert AuditEvent.objects.get(event="member.removed").metadata["role"] == "approver"
    assert User.objects.filter(email="approver@acme.example").exists()


@pytest.mark.django_db(transaction=True)
def test_what_a_removed_person_approved_is_not_sent(scene: Scene, admin: Client) -> None:
    approval = scene.approve(scene.submit({"n": 1}), member=scene.approver)
    admin.post(f"/settings/members/{scene.approver.pk}/remove")
    execution.execute(approval_id=approval.pk, now=timezone.now())
    approval.refresh_from_db()
    assert "The person who approved may no longer decide." in str(approval.execution_error)


@pytest.mark.parametrize("button", ["role", "remove"])
def test_the_last_admin_stays(scene: Scene, admin: Client, button: str) -> None:
    data = {"role": "auditor"} if button == "role" else {}
    response = admin.post(f"/settings/members/{scene.admin.pk}/{button}", data)
    assert (response.status_code, "is the last admin" in response.content.decode()) == (400, True)
    assert role_of(scene.admin) == "admin"
    inactive = make_member(scene.owner, "gone@acme.example", Role.ADMIN)
    User.objects.filter(pk=inactive.user_id).update(is_active=False)
    assert admin.post(f"/settings/members/{scene.admin.pk}/{button}", data).status_code == 400
    make_member(scene.owner, "boss@acme.example", Role.ADMIN)
    assert admin.post(f"/settings/members/{scene.admin.pk}/{button}", data).status_code == 302


def test_leaving_oneself_signs_out(scene: Scene, admin: Client) -> None:
    make_member(scene.owner, "boss@acme.example", Role.ADMIN)
    assert admin.post(f"/settings/members/{scene.admin.pk}/remove")["Location"] == "/sign-in"
    assert admin.get("/approvals").status_code == 302


BUTTONS = [
    ("members/invite", {"email": "x@acme.example", "role": "admin"}),
    ("members/{member}/role", {"role": "admin"}),
    ("members/{member}/remove", {}),
    ("invitations/{invitation}/withdraw", {}),
]


@pytest.mark.parametrize(("path", "data"), BUTTONS, ids=[path for path, _ in BUTTONS])
@pytest.mark.parametrize("who", ["approver", "auditor", "stranger"])
def test_nobody_else_changes_who_belongs(
    scene: Scene, admin: Client, stranger: Client, path: str, data: dict[str, str], who: str
) -> None:
    invite(admin)
    client = stranger if who == "stranger" else signed_in(scene.members[who])
    path = path.format(member=scene.auditor.pk, invitation=Invitation.objects.get().pk)
    before = (list(Member.objects.order_by("pk").values()), events(scene))
    status = client.post(f"/settings/{path}", data).status_code
    assert status == (403 if who != "stranger" else 200 if "invite" in path else 404)
    assert (list(Member.objects.order_by("pk").values()), events(scene)) == before


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_remove_each_other_leave_one(scene: Scene, admin: Client) -> None:
    boss = make_member(scene.owner, "boss@acme.example", Role.ADMIN)
    other = signed_in(boss)
    admin.post(f"/settings/members/{boss.pk}/remove")
    assert other.post(f"/settings/members/{scene.admin.pk}/remove").status_code == 302  # to the sign-in
    assert Member.objects.filter(owner=scene.owner, role="admin").count() == 1
