"""`manage.py verify_audit` and `manage.py checkpoint_audit`, as an operator runs them."""

import base64
import json
import secrets
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from tests.audit.conftest import Write

pytestmark = pytest.mark.django_db


def run(*args: str) -> str:
    out = StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


@pytest.fixture
def saved(tmp_path: Path, owner_id: UUID, write: Write) -> Path:
    """Three rows, and a file with the checkpoint at the third."""
    write(owner_id, 3)
    path = tmp_path / "checkpoints.jsonl"
    path.write_text(run("checkpoint_audit"))
    return path


def edit_row_two() -> None:
    """The tables' owner may switch triggers off; the test's rollback brings them back."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER append_only_rows")
        cursor.execute("UPDATE audit_auditevent SET result = 'denied' WHERE seq = 2")


def test_it_says_how_far_the_chain_verifies(owner_id: UUID, saved: Path, write: Write) -> None:
    write(owner_id, 2)
    expected = f"owner {owner_id}: chain verifies up to row 5, last checkpoint at 3\n"
    assert run("verify_audit") == expected
    assert run("verify_audit", "--checkpoint", str(saved)) == expected
    assert run("verify_audit", "--owner", str(owner_id)) == expected


def test_it_says_that_there_is_no_checkpoint_yet(owner_id: UUID, write: Write) -> None:
    write(owner_id)
    assert run("verify_audit").endswith("chain verifies up to row 1, last checkpoint at none\n")


def test_it_says_that_the_log_is_empty() -> None:
    assert run("verify_audit") == "the audit log is empty\n"


@pytest.mark.usefixtures("saved")
def test_a_bad_row_is_named_and_ends_in_an_error(owner_id: UUID, write: Write) -> None:
    other = uuid4()
    write(other)
    edit_row_two()
    out = StringIO()
    with pytest.raises(CommandError, match="1 of 2 chains do not verify") as failure:
        call_command("verify_audit", stdout=out)
    assert failure.value.returncode == 1
    assert f"owner {owner_id}: row 2 is bad: its column result is not what was recorded (edited)" in out.getvalue()
    assert f"owner {other}: chain verifies up to row 1" in out.getvalue()
    assert "chain verifies" in run("verify_audit", "--owner", str(other))


@pytest.mark.usefixtures("saved")
def test_no_checkpoints_are_printed_for_a_broken_chain(owner_id: UUID, write: Write) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER append_only_rows")
        write(owner_id)
        cursor.execute("UPDATE audit_auditevent SET reason = 'x' WHERE seq = 4")
    with pytest.raises(CommandError, match="row 4 is bad"):
        run("checkpoint_audit")


def test_a_file_that_is_not_there_or_not_a_checkpoint_is_an_error_in_one_sentence(saved: Path, tmp_path: Path) -> None:
    empty, garbage = tmp_path / "empty", tmp_path / "garbage"
    empty.touch()
    garbage.write_bytes(b"\xff\xfe")
    changed = tmp_path / "changed"
    changed.write_text(json.dumps(json.loads(saved.read_text()) | {"seq": 2}))
    for path, complaint in [
        (tmp_path / "nowhere", "No such file"),
        (tmp_path, "directory"),
        (empty, "holds no checkpoint"),
        (garbage, "can't decode"),
        (changed, "is not signed by the audit key"),
    ]:
        with pytest.raises(CommandError, match=complaint):
            run("verify_audit", "--checkpoint", str(path))


def test_a_file_without_the_owner_asked_for_is_an_error(saved: Path) -> None:
    with pytest.raises(CommandError, match="holds no checkpoint of owner"):
        run("verify_audit", "--owner", str(uuid4()), "--checkpoint", str(saved))


def test_a_checkpoint_by_an_earlier_key_is_used_when_the_operator_names_that_key(
    saved: Path, settings: Settings
) -> None:
    settings.AUDIT_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
    with pytest.raises(CommandError, match="name the old public key with --trust"):
        run("verify_audit", "--checkpoint", str(saved))
    old = json.loads(saved.read_text())["public_key"]
    assert "last checkpoint at 3" in run("verify_audit", "--checkpoint", str(saved), "--trust", old)


@pytest.mark.parametrize("key", ["x", "AAAA", ""])
def test_a_key_to_trust_that_is_none_is_an_error(key: str) -> None:
    with pytest.raises(CommandError, match="is not a public key"):
        run("verify_audit", "--trust", key)
