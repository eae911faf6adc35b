"""Exports of the audit log leave by a POST that is on record; how the files look is tests/audit/test_exports.py's."""

from unittest.mock import Mock

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from audit.events import Actor, Event, Result
from audit.models import AuditEvent
from audit.records import record
from tests.pages.scene import Scene, signed_in


def write(scene: Scene, result: Result) -> None:
    with transaction.atomic():
        record(
            event=Event.ACTION_DENIED,
            result=result,
            owner_id=scene.owner.pk,
            actor=Actor("agent", scene.agent.pk, "deploy-bot"),
            now=timezone.now(),
        )


@pytest.mark.parametrize("role", ["admin", "approver", "auditor"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "bundle"])
def test_an_export_is_on_record_before_it_is_sent_and_ends_before_that_row(scene: Scene, kind: str, role: str) -> None:
    """Who, which filters, how many rows: as many as the file has."""
    write(scene, Result.DENIED)
    write(scene, Result.ALLOWED)
    client = signed_in(getattr(scene, role))
    action = f"/audit/export.{kind}?result=denied"
    assert f'method="post" action="{action}"' in client.get("/audit?result=denied").content.decode()
    response = client.post(f"{action}&nonsense=1")
    row = AuditEvent.objects.get(event="audit.exported")
    assert row.actor_label == f"{role}@acme.example"
    rows = {"jsonl": 1, "csv": 1, "bundle": 2}[kind]  # a bundle heeds times only
    assert row.metadata == {"kind": kind, "filters": {"result": "denied"}, "rows": rows, "up_to": 2}
    written = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert len(written.splitlines()) == rows + {"jsonl": 0, "csv": 1, "bundle": 2}[kind]
    assert "audit.exported" not in written


def test_an_export_that_is_refused_is_not_on_record_and_holds_no_place(
    scene: Scene, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(scene, Result.INFO)
    monkeypatch.setattr("audit.exports.MOST_AT_ONCE", 0)
    assert admin.post("/audit/export.csv").status_code == 429
    assert admin.post("/audit/export.csv?since=x").status_code == 400
    assert admin.get("/audit/export.csv").status_code == 405
    assert not AuditEvent.objects.filter(event="audit.exported").exists()
    monkeypatch.setattr("audit.exports.MOST_AT_ONCE", 1)
    with monkeypatch.context() as patch:
        patch.setattr("agents.audit_log.record", Mock(side_effect=DatabaseError))
        with pytest.raises(DatabaseError):
            admin.post("/audit/export.csv")
    assert b"".join(admin.post("/audit/export.csv").streaming_content)  # type: ignore[attr-defined]
