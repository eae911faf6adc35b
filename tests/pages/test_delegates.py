"""The card **Approval delegation** on /settings: who may name delegates, and what is no mailbox."""

from typing import Any

import pytest
from django.test import Client

from agents.delegate_model import Delegate
from agents.delegates import MOST_DELEGATES
from audit.models import AuditEvent
from tests.pages.scene import Scene, signed_in


def add(client: Client, email: str) -> Any:
    return client.post("/settings/delegates", {"email": email})


def test_an_admin_adds_pauses_and_deletes_a_delegate(scene: Scene, admin: Client) -> None:
    assert add(admin, "dana@elsewhere.example").status_code == 303
    page = admin.get("/settings").content.decode()
    assert "dana@elsewhere.example" in page
    assert 'aria-checked="true" aria-label="Active: dana@elsewhere.example"' in page
    assert "No mail server is set up" in page
    delegate = Delegate.objects.get()
    for active in ("0", "0", "1"):
        admin.post(f"/settings/delegates/{delegate.pk}/active", {"active": active})
        assert Delegate.objects.get().is_active == (active == "1")
    assert admin.post(f"/settings/delegates/{delegate.pk}/delete").status_code == 303
    assert not Delegate.objects.exists()
    rows = AuditEvent.objects.filter(event__startswith="delegate.").order_by("seq")
    assert [row.event for row in rows] == [
        "delegate.added", "delegate.deactivated", "delegate.activated", "delegate.removed",
    ]  # fmt: skip
    assert {row.actor_label for row in rows} == {"admin@acme.example"}


@pytest.mark.parametrize(
    "email",
    ["", "dana", "dana@", "@elsewhere.example", "a@b.example\nBcc: c@d.example", "a@b.example\0", "a b@c.example", "x" * 250 + "@b.example",
     "a@b.example, c@d.example", "Dana <dana@elsewhere.example>"],
)  # fmt: skip
def test_what_is_no_mailbox_is_refused(scene: Scene, admin: Client, email: str) -> None:
    add(admin, email)
    assert not Delegate.objects.exists()
    assert "That is not an e-mail address." in admin.get("/settings").content.decode()


def test_one_mailbox_is_one_delegate(scene: Scene, admin: Client) -> None:
    add(admin, "dana@elsewhere.example")
    add(admin, "Dana@Elsewhere.example")
    assert Delegate.objects.count() == 1
    assert "is a delegate already" in admin.get("/settings").content.decode()


def test_the_number_of_delegates_is_limited(scene: Scene, admin: Client) -> None:
    for number in range(MOST_DELEGATES + 1):
        add(admin, f"d{number}@elsewhere.example")
    assert Delegate.objects.count() == MOST_DELEGATES


@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_admins_change_delegates(scene: Scene, admin: Client, role: str) -> None:
    add(admin, "dana@elsewhere.example")
    delegate = Delegate.objects.get()
    client = signed_in(scene.members[role])
    for path in ("", f"/{delegate.pk}/active", f"/{delegate.pk}/delete"):
        assert client.post(f"/settings/delegates{path}", {"email": "me@elsewhere.example"}).status_code == 403
    assert Delegate.objects.get().is_active
    assert "Add delegate" not in client.get("/settings").content.decode()


def test_a_stranger_sees_and_changes_nothing(scene: Scene, admin: Client, stranger: Client) -> None:
    add(admin, "dana@elsewhere.example")
    delegate = Delegate.objects.get()
    for path in ("active", "delete"):
        assert stranger.post(f"/settings/delegates/{delegate.pk}/{path}").status_code == 404
    assert "dana@elsewhere.example" not in stranger.get("/settings").content.decode()
    assert Delegate.objects.get().is_active


def test_a_get_changes_nothing(scene: Scene, admin: Client) -> None:
    add(admin, "dana@elsewhere.example")
    delegate = Delegate.objects.get()
    for path in ("", f"/{delegate.pk}/active", f"/{delegate.pk}/delete"):
        assert admin.get(f"/settings/delegates{path}").status_code == 405
    assert Delegate.objects.get().is_active
