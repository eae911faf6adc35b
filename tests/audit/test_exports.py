"""Exports: JSONL is what was hashed, CSV is safe to open, a bundle proves itself without the database."""

import base64
import csv
import hashlib
import io
import json
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from agents.reveal import reveal
from audit import bundle, exports
from audit.bundle import BadBundle, check_bundle, write_bundle
from audit.checkpoints import checkpoint_moved_chains
from audit.filters import Filters
from audit.models import AuditEvent
from audit.signing import own_public_key
from tests.audit.conftest import NOW, Write
from tests.pages.spoofs import SPOOFS, Spoof

pytestmark = pytest.mark.django_db
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", '=HYPERLINK("https://evil.example")', "\t=1", "\r=1"]


ALL = 10**9  # rows and more


def bundled(owner_id: UUID, filters: Filters) -> Iterator[bytes]:
    span = bundle.span(owner_id=owner_id, filters=filters, up_to=ALL)
    return write_bundle(owner_id=owner_id, span=span, now=NOW)


def sheet(owner_id: UUID, **filters: str) -> list[dict[str, str]]:
    batches = exports.matching(owner_id=owner_id, filters=Filters(**filters), up_to=ALL)  # type: ignore[arg-type]
    text = b"".join(exports.as_csv(batches, reveal=reveal)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_jsonl_holds_every_record_as_it_was_hashed_in_order(
    owner_id: UUID, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "BATCH", 3)
    write(owner_id, 10)
    write(uuid4(), 2)
    lines = (
        b"".join(exports.as_jsonl(exports.matching(owner_id=owner_id, filters=Filters(), up_to=ALL)))
        .decode()
        .splitlines()
    )
    stored = AuditEvent.objects.for_owner(owner_id).order_by("seq").values_list("canonical", flat=True)
    assert lines == list(stored)


def test_an_export_reads_no_more_than_a_batch_at_once(
    owner_id: UUID, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "BATCH", 2)
    write(owner_id, 6)
    pieces = exports.as_jsonl(exports.matching(owner_id=owner_id, filters=Filters(), up_to=ALL))
    with CaptureQueriesContext(connection) as queries:
        next(pieces)
    [sql] = [query["sql"] for query in queries if "FROM" in query["sql"]]
    assert "LIMIT 2" in sql


@pytest.mark.parametrize("spoof", SPOOFS, ids=lambda spoof: spoof.name)
def test_nothing_in_a_sheet_hides_or_misleads(owner_id: UUID, write: Write, spoof: Spoof) -> None:
    write(owner_id, agent_name=spoof.text, reason=spoof.text, metadata={"text": spoof.text})
    [row] = sheet(owner_id)
    for column in ("agent_name", "reason", "metadata"):
        assert row[column].isprintable()
        assert (
            row[column] == reveal(row[column]).replace("⟦U+27E6⟧", "⟦").replace("⟦U+27E7⟧", "⟧") or "⟦" in row[column]
        )


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(owner_id: UUID, write: Write, formula: str) -> None:
    write(owner_id, agent_name=formula, platform=formula, action=formula, reason=formula, session_id=formula)
    [row] = sheet(owner_id)
    assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "＝", "\t", "\r"))]
    assert json.loads(row["metadata"]) == {"status": 200}


def test_a_sheet_has_the_rows_of_its_filters(owner_id: UUID, write: Write) -> None:
    write(owner_id, 3)
    write(owner_id, result="denied", action='x\ny,z"w')
    [row] = sheet(owner_id, result="denied")
    assert (row["row"], row["action"]) == ("4", 'x⟦U+000A⟧y,z"w')
    assert [one["row"] for one in sheet(owner_id)] == ["1", "2", "3", "4"]


def test_no_more_than_two_exports_run_at_once(owner_id: UUID, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_last_batch", {})
    write(owner_id, 2)
    first, second = (exports.one_of_few(lambda: iter([b"1", b"2"])) for _ in range(2))
    with pytest.raises(exports.TooManyExports):
        exports.one_of_few(lambda: iter([]))
    assert list(first) == [b"1", b"2"]
    third = exports.one_of_few(lambda: iter([b"3"]))
    assert next(second) == b"1"
    monkeypatch.setattr(exports, "IDLE", -1.0)  # their readers have gone away
    exports.one_of_few(lambda: iter([]))
    assert list(third) == [b"3"]


# --- Bundles


@pytest.fixture
def lines(owner_id: UUID, write: Write) -> list[bytes]:
    """A bundle of six rows with checkpoints at rows 3 and 6."""
    for _ in range(2):
        write(owner_id, 3)
        checkpoint_moved_chains(now=NOW)
    return b"".join(bundled(owner_id, Filters())).splitlines(keepends=True)


def trusted() -> frozenset[bytes]:
    return frozenset({own_public_key()})


def test_a_bundle_proves_itself(owner_id: UUID, lines: list[bytes]) -> None:
    content = check_bundle(lines, trusted=trusted())
    assert (content.owner_id, content.first_seq, content.last_seq, content.checkpoints) == (owner_id, 1, 6, 2)
    assert len(lines) == 1 + 6 + 2 + 1


def test_a_bundle_can_be_checked_with_what_the_documentation_says(lines: list[bytes]) -> None:
    """docs/audit.md, "The format", without our code."""
    head, *body, end = lines
    previous = bytes.fromhex(json.loads(head)["previous_hash"])
    for line in body:
        fields = json.loads(line)
        if "row" in fields:
            previous = hashlib.sha256(b"agentvalet audit v1\n" + previous + fields["row"].encode()).digest()
            assert previous.hex() == fields["hash"]
    signature = json.loads(end)["signature"]
    signed = b"agentvalet audit bundle v1\n" + hashlib.sha256(head + b"".join(body)).digest()
    public_key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signature["public_key"]))
    public_key.verify(base64.b64decode(signature["signature"]), signed)


def test_a_part_of_a_chain_is_a_bundle_with_every_row_between(
    owner_id: UUID, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "BATCH", 2)
    for hour in range(8):
        write(owner_id, now=NOW + timedelta(hours=hour), result="denied" if hour % 2 else "allowed")
    part = Filters(since=NOW + timedelta(hours=2), until=NOW + timedelta(hours=6), result="denied")
    content = check_bundle(b"".join(bundled(owner_id, part)).splitlines(keepends=True), trusted=trusted())
    assert (content.first_seq, content.last_seq) == (3, 7)


def test_an_empty_bundle_says_so(owner_id: UUID) -> None:
    lines = b"".join(bundled(owner_id, Filters())).splitlines(keepends=True)
    assert "no rows" in str(check_bundle(lines, trusted=trusted()))


def edited(lines: list[bytes]) -> None:
    lines[2] = lines[2].replace(b"chat:write", b"chat:wrote")


def cut(lines: list[bytes]) -> None:
    del lines[-1]


def swapped(lines: list[bytes]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def recomputed(lines: list[bytes]) -> None:
    """Every row after the edit follows from it again: the signature tells."""
    previous = bytes(32)
    edited(lines)
    for number, line in enumerate(lines):
        fields = json.loads(line)
        if "row" in fields:
            previous = hashlib.sha256(b"agentvalet audit v1\n" + previous + fields["row"].encode()).digest()
            lines[number] = json.dumps({"row": fields["row"], "hash": previous.hex()}).encode() + b"\n"
    lines[:] = [line for line in lines if b'"checkpoint"' not in line]


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (edited, "line 3: row 2 does not follow from the one before"),
        (cut, "it ends without its signature"),
        (swapped, "line 2: row 1 of owner"),
        (recomputed, "the signature does not fit"),
        (lambda lines: lines.__delitem__(6), "was to come here"),
        (lambda lines: lines.__setitem__(4, lines[8]), "the checkpoint at row 6 does not agree"),
        (lambda lines: lines.append(lines[1]), "it stands behind the signature"),
        (lambda lines: lines.__setitem__(0, lines[0].replace(b"v1", b"v9")), "it is of another format"),
        (lambda lines: lines.__setitem__(0, lines[0].replace(b"00", b"01", 1)), ""),
        (lambda lines: lines.__setitem__(3, b"[" * 100_000), "line 4 is not a line of a bundle"),
        (lambda lines: lines.__setitem__(3, b"7\n"), "line 4 is not a line of a bundle"),
        (lambda lines: lines.__setitem__(-1, b'{"signature":{}}'), "is not a line of a bundle"),
        (lambda lines: lines.clear(), "it ends without its signature"),
    ],
)  # fmt: skip
def test_a_changed_bundle_is_refused(lines: list[bytes], tamper: Callable[[list[bytes]], None], said: str) -> None:
    tamper(lines)
    with pytest.raises(BadBundle) as refused:
        check_bundle(lines, trusted=trusted())
    assert said in str(refused.value)


def test_the_command_checks_a_file_with_a_trusted_key_alone(
    lines: list[bytes], tmp_path: Path, settings: Settings, owner_id: UUID
) -> None:
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"".join(lines))
    key = base64.b64encode(own_public_key()).decode()
    settings.AUDIT_KEY = base64.b64encode(secrets.token_bytes(32)).decode()  # another machine
    with pytest.raises(CommandError, match="a key that you did not name as trusted"):
        call_command("check_audit_bundle", str(file))
    said = StringIO()
    with CaptureQueriesContext(connection) as queries:
        call_command("check_audit_bundle", str(file), trust=[key], stdout=said)
    assert f"owner {owner_id}: rows 1 to 6, 2 checkpoints" in said.getvalue()
    assert len(queries) == 0
    for wrong in (tmp_path / "none", tmp_path):
        with pytest.raises(CommandError):
            call_command("check_audit_bundle", str(wrong), trust=[key])
    with pytest.raises(CommandError, match="is not a public key"):
        call_command("check_audit_bundle", str(file), trust=["x"])
