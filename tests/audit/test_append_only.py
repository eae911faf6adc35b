"""The application, which owns the tables, can append and nothing else; no setting gets it past the triggers."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction

from audit.checkpoints import checkpoint_moved_chains
from audit.models import AppendOnlyError, AuditEvent, ChainHead, Checkpoint
from tests.audit.conftest import NOW, Write

REFUSED = [
    "UPDATE audit_auditevent SET result = 'allowed'",
    "UPDATE audit_auditevent SET seq = seq",
    "DELETE FROM audit_auditevent",
    "TRUNCATE audit_auditevent",
    "INSERT INTO audit_auditevent SELECT * FROM audit_auditevent ON CONFLICT (id) DO UPDATE SET reason = 'x'",
    "UPDATE audit_checkpoint SET seq = 1",
    "DELETE FROM audit_checkpoint",
    "TRUNCATE audit_checkpoint",
    "UPDATE audit_chainhead SET seq = seq - 1",
    "UPDATE audit_chainhead SET seq = seq",
    "UPDATE audit_chainhead SET hash = hash",
    "UPDATE audit_chainhead SET seq = seq + 2",
    "UPDATE audit_chainhead SET seq = seq + 1, owner_id = gen_random_uuid()",
    "DELETE FROM audit_chainhead",
    "TRUNCATE audit_chainhead",
    "TRUNCATE audit_auditevent, audit_chainhead, audit_checkpoint RESTART IDENTITY CASCADE",
]


@pytest.fixture
def log(owner_id: UUID, write: Write) -> list[UUID]:
    """Three rows and a checkpoint."""
    written = write(owner_id, 3)
    checkpoint_moved_chains(now=NOW)
    return written


@pytest.mark.django_db
@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("statement", REFUSED)
def test_the_database_refuses_the_application(statement: str) -> None:
    refusal = r"refused: the (audit log is append-only|head of a chain moves forward)"
    with pytest.raises(IntegrityError, match=refusal), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert (AuditEvent.objects.count(), ChainHead.objects.get().seq, Checkpoint.objects.count()) == (3, 3, 1)


@pytest.mark.django_db
@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("role", ["replica", "local"])
def test_the_application_cannot_set_the_triggers_aside(role: str) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET session_replication_role = {role}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("log")
def test_not_even_a_superuser_changes_rows_by_a_mere_setting(
    superuser: "psycopg.Connection[tuple[Any, ...]]",
) -> None:
    superuser.execute("SET session_replication_role = replica")
    for statement in REFUSED:
        if not statement.startswith("TRUNCATE"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                superuser.execute(statement.encode())


@pytest.mark.django_db
def test_django_refuses_what_the_database_would_refuse(owner_id: UUID, log: list[UUID]) -> None:
    row, head, checkpoint = AuditEvent.objects.get(id=log[0]), ChainHead.objects.get(), Checkpoint.objects.get()
    attempts: list[Callable[[], object]] = [
        row.save,
        row.delete,
        head.save,
        head.delete,
        checkpoint.delete,
        lambda: AuditEvent.objects.create(owner_id=owner_id, seq=4),
        lambda: AuditEvent.objects.bulk_create([row]),
        lambda: AuditEvent.objects.bulk_update([row], ["reason"]),
        lambda: AuditEvent.objects.update(reason="x"),
        lambda: AuditEvent.objects.filter(owner_id=owner_id).delete(),
        lambda: AuditEvent.objects.get_or_create(seq=99),
    ]
    for attempt in attempts:
        with pytest.raises(AppendOnlyError):
            attempt()


@pytest.mark.django_db
def test_the_triggers_come_and_go_with_their_migration(owner_id: UUID, log: list[UUID]) -> None:
    call_command("migrate", "audit", "0001", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET reason = reason")
    call_command("migrate", "audit", verbosity=0)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET reason = reason")
