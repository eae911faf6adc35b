"""The audit log in Django's admin: everything can be found, nothing can be changed."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from agents.models import User
from audit import admin_lists
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
    assert found(auditor, period="2025") == {denied}
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


@pytest.mark.parametrize("model", ["audit/auditevent", "audit/checkpoint", "approvals/approvalrequest"])
@pytest.mark.parametrize("path", ["", "add/", "{key}/change/", "{key}/delete/", "{key}/history/", "{key}/"])
def test_a_post_to_any_address_changes_nothing(auditor: Client, write: Write, model: str, path: str) -> None:
    owner_id = uuid4()
    [row] = write(owner_id)
    checkpoint_moved_chains(now=NOW)
    before = [list(table.objects.order_by("pk").values()) for table in (AuditEvent, Checkpoint)]
    key = Checkpoint.objects.get().pk if model.endswith("checkpoint") else row
    form = {"reason": "x", "action": "delete_selected", "_selected_action": str(key), "post": "yes", "_save": "Save"}
    answer = auditor.post(f"/admin/{model}/{path.format(key=key)}", form)
    assert answer.status_code in {302, 403, 404, 405} or b"_save" not in answer.content
    assert [list(table.objects.order_by("pk").values()) for table in (AuditEvent, Checkpoint)] == before


def test_periods_narrow_year_by_month_by_day(auditor: Client, owner_id: UUID, write: Write) -> None:
    [old] = write(owner_id, now=NOW.replace(year=2024, month=2, day=29, hour=23))
    [new] = write(owner_id)
    for period, expected in [
        ("2024", {old}), ("2024-02", {old}), ("2024-02-29", {old}), ("2024-02-28", set()), ("2026-03", {new}),
        ("2025", set()), ("2024-13", set()), ("2024-02-30", set()), ("0000", set()), ("9999", set()), ("x", set()),
    ]:  # fmt: skip
        assert found(auditor, period=period) == expected, period
    assert "period=2024-02-29" in auditor.get(reverse(LIST), {"period": "2024-02"}).content.decode()
    assert "period=2024" in auditor.get(reverse(LIST)).content.decode()


def test_lists_count_no_further_than_they_page(
    auditor: Client, owner_id: UUID, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_lists, "MOST_LISTED", 3)
    write(owner_id, 5)
    with CaptureQueriesContext(connection) as queries:
        page = auditor.get(reverse(LIST))
    assert page.context["cl"].result_count == 3
    counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert counts
    assert all("LIMIT 3" in sql for sql in counts)


def test_the_page_of_a_row_has_the_story_of_its_request(auditor: Client, owner_id: UUID, write: Write) -> None:
    request_id, approval_id = uuid4(), uuid4()
    asked = write(owner_id, request_id=request_id, approval_id=approval_id)
    decided = write(owner_id, 2, approval_id=approval_id)
    other = write(owner_id)
    page = auditor.get(reverse("admin:audit_auditevent_change", args=asked)).content.decode()
    for row in asked + decided:
        assert reverse("admin:audit_auditevent_change", args=[row]) in page
    assert reverse("admin:audit_auditevent_change", args=other) not in page


def test_staff_without_the_permission_sees_nothing(owner_id: UUID, write: Write) -> None:
    write(owner_id)
    client = Client()
    client.force_login(User.objects.create_user("staff@example.com", is_staff=True))
    assert client.get(reverse(LIST)).status_code == 403
