"""Whoever has full rights in the database can change the log; the verifier then names the first bad row."""

import json
from collections.abc import Callable
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from django.db import connection

from audit.chain import COLUMNS
from audit.checkpoints import checkpoint_moved_chains, latest_checkpoint
from audit.models import AuditEvent, Checkpoint
from audit.verify import verify_owner
from tests.audit.conftest import NOW, Write
from tests.audit.tamperings import OTHER_OWNER, ROWS, TABLES, TAMPERINGS, Database, Tampering, edit

Tamper = Callable[..., None]


@pytest.fixture
def chain(owner_id: UUID, write: Write) -> Checkpoint:
    """Six rows with checkpoints at 3 and 6, beside another owner's; returns the last checkpoint, as kept elsewhere."""
    for owner in (owner_id, OTHER_OWNER):
        write(owner, 3)
        checkpoint_moved_chains(now=NOW)
        write(owner, 1, action="chat:write 4")
        write(owner, 2)
        checkpoint_moved_chains(now=NOW)
    saved = latest_checkpoint(owner_id=owner_id)
    assert saved is not None
    assert saved.seq == ROWS
    return saved


@pytest.fixture
def tamper(superuser: Database, owner_id: UUID) -> Tamper:
    """Run statements as a superuser who switches the triggers off before, and on again afterwards."""

    def run(statements: list[str], then: Callable[[Database, UUID], None] | None = None) -> None:
        with superuser.transaction():
            for table in TABLES:
                superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
            for statement in statements:
                superuser.execute(statement.replace("$1", f"'{owner_id}'").encode())
            if then:
                then(superuser, owner_id)
            for table in TABLES:
                superuser.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
                superuser.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only_rows".encode())
            superuser.execute("ALTER TABLE audit_chainhead ENABLE ALWAYS TRIGGER forward_only")

    return run


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.name)
def test_the_verifier_names_the_first_bad_row(
    owner_id: UUID, chain: Checkpoint, tamper: Tamper, tampering: Tampering
) -> None:
    before = verify_owner(owner_id=owner_id, saved=[chain])
    assert (before.verifies, before.seq, before.checkpoint_seq) == (True, ROWS, ROWS)
    tamper(tampering.statements, tampering.then)
    verdict = verify_owner(owner_id=owner_id, saved=[chain] if tampering.with_saved else [])
    assert verdict.bad_seq == tampering.bad_seq
    assert tampering.reason in verdict.reason
    if tampering.with_saved:
        blind = verify_owner(owner_id=owner_id)
        assert blind.verifies, "the case says that it takes the saved checkpoint"
    assert verify_owner(owner_id=OTHER_OWNER).verifies


OTHER_VALUES: dict[str, UUID | datetime | None] = {
    "id": uuid4(),
    "owner_id": uuid4(),
    "at": NOW.replace(microsecond=NOW.microsecond + 1),
    "request_id": None,
    "approval_id": uuid4(),
}


@pytest.mark.django_db
@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_can_differ_from_what_was_hashed(owner_id: UUID, write: Write, column: str) -> None:
    write(owner_id, 3)
    with connection.cursor() as cursor:  # the tables' owner may do this; the test's rollback brings the trigger back
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER append_only_rows")
        cursor.execute(
            f"UPDATE audit_auditevent SET {column} = %s WHERE owner_id = %s AND seq = 2",
            [OTHER_VALUES.get(column, "other"), owner_id],
        )
    verdict = verify_owner(owner_id=owner_id)
    assert verdict.bad_seq == 2
    assert ("deleted" if column == "owner_id" else f"column {column} ") in verdict.reason


@pytest.mark.django_db
@pytest.mark.parametrize("batch", [1, 2, 3, 6, 7])
def test_a_chain_of_many_batches_is_read_to_its_end(
    owner_id: UUID, write: Write, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("audit.verify._BATCH", batch)
    write(owner_id, ROWS)
    assert (verify_owner(owner_id=owner_id).verifies, verify_owner(owner_id=owner_id).seq) == (True, ROWS)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE audit_auditevent SET reason = 'x' WHERE owner_id = %s AND seq = %s", [owner_id, ROWS])
    assert verify_owner(owner_id=owner_id).bad_seq == ROWS


@pytest.mark.django_db(transaction=True)
def test_a_broken_chain_gets_no_new_checkpoint(
    owner_id: UUID,
    chain: Checkpoint,
    write: Write,
    tamper: Tamper,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(owner_id, 3)
    tamper([edit("200", "500", "= 8")])
    verdicts = checkpoint_moved_chains(now=NOW)
    assert [(verdict.owner_id, verdict.bad_seq) for verdict in verdicts] == [(owner_id, 8)]
    assert latest_checkpoint(owner_id=owner_id) == chain
    assert "no checkpoint signed" in caplog.text


@pytest.mark.django_db
def test_every_recorded_fact_is_in_the_text_that_is_hashed(owner_id: UUID, write: Write) -> None:
    write(owner_id)
    row = AuditEvent.objects.get(owner_id=owner_id)
    columns = {field.name for field in AuditEvent._meta.get_fields()} - {"canonical", "hash"}
    assert set(json.loads(row.canonical)) == columns | {"v", "metadata"}
