"""The audit log in Django's admin: everything can be found, nothing can be changed."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from agents.models import User
from audit.checkpoints import checkpoint_moved_chains
from audit.events import Event
from audit.models import AuditEvent, Checkpoint
from tests.audit.conftest import NOW, Write

pytestmark = pytest.mark.django_db

LIST = "admin:audit_auditevent_changelist"


@pytest.fixture(autouse=True)
def plain_static_files(settings: Settings, tmp_path: Path) -> None:
    """The pages link to static files; here nobody fetches them."""
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


@pytest.fixture
def auditor() -> Client:
    """A superuser: no permission is missing, so whatever is refused is refused by the admin class."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com"))
    return client


def found(client: Client, **query: str) -> set[UUID]:
    response = client.get(reverse(LIST), query)
    assert response.status_code == 200
    return {row.id for row in response.context["cl"].queryset}


def test_a_row_is_found_by_every_id_it_carries(auditor: Client, write: Write) -> None:
    owner_id, request_id, approval_id = uuid4(), uuid4(), uuid4()
    [wanted] = write(
        owner_id, request_id=request_id, approval_id=approval_id, agent_id="agt_wanted", agent_name="Deploy Bot 7"
    )
    write(uuid4(), 3)
    for term in [request_id, approval_id, wanted, owner_id, f" {request_id} ", request_id.hex, "agt_wanted", "bot 7"]:
        assert found(auditor, q=str(term)) == {wanted}, term
    for term in [uuid4(), "agt_want", "nobody", "%", "\\"]:
        assert found(auditor, q=str(term)) == set(), term
    assert len(found(auditor)) == 4


def test_rows_are_narrowed_by_result_and_date(auditor: Client, owner_id: UUID, write: Write) -> None:
    write(owner_id, 2)
    [denied] = write(owner_id, event=Event.ACTION_DENIED, result="denied", now=NOW.replace(year=2025))
    assert found(auditor, result="denied") == {denied}
    assert found(auditor, at__year="2025") == {denied}
    assert len(found(auditor, result="allowed")) == 2


def test_a_row_shows_all_of_itself_and_leads_to_the_story_of_its_request(
    auditor: Client, owner_id: UUID, write: Write
) -> None:
    request_id = uuid4()
    intent, outcome = write(owner_id, 2, request_id=request_id, reason="<script>alert(1)</script>")
    page = auditor.get(reverse("admin:audit_auditevent_change", args=[outcome])).content.decode()
    row = AuditEvent.objects.get(id=outcome)
    assert bytes(row.hash).hex() in page
    assert "chat:write 2" in page
    assert "<script>alert(1)" not in page
    assert f"{reverse(LIST)}?q={request_id}" in page
    assert found(auditor, q=str(request_id)) == {intent, outcome}


def test_nothing_can_be_added_changed_or_deleted(auditor: Client, owner_id: UUID, write: Write) -> None:
    [row] = write(owner_id)
    checkpoint_moved_chains(now=NOW)
    for model, key in [("auditevent", row), ("checkpoint", Checkpoint.objects.get().pk)]:
        assert auditor.get(reverse(f"admin:audit_{model}_change", args=[key])).status_code == 200
        assert auditor.post(reverse(f"admin:audit_{model}_change", args=[key]), {"reason": "x"}).status_code == 403
        assert auditor.post(reverse(f"admin:audit_{model}_delete", args=[key]), {"post": "yes"}).status_code == 403
        assert auditor.post(reverse(f"admin:audit_{model}_add"), {"reason": "x"}).status_code == 403
        listing = reverse(f"admin:audit_{model}_changelist")
        auditor.post(listing, {"action": "delete_selected", "_selected_action": [str(key)], "post": "yes"})
    assert AuditEvent.objects.count() == 1
    assert Checkpoint.objects.count() == 1


def test_staff_without_the_permission_sees_nothing(owner_id: UUID, write: Write) -> None:
    write(owner_id)
    client = Client()
    client.force_login(User.objects.create_user("staff@example.com", is_staff=True))
    assert client.get(reverse(LIST)).status_code == 403
