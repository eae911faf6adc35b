"""Every way to tamper with a chain, as data: statements of a superuser, and what the verifier then has to say."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

Database = psycopg.Connection[tuple[Any, ...]]
ROWS = 6  # in the chain under attack; checkpoints are signed at 3 and 6
OTHER_OWNER = UUID("00000000-0000-4000-8000-000000000002")  # has six rows too
TABLES = ("audit_auditevent", "audit_chainhead", "audit_checkpoint")

_COLUMNS = (
    "at, event, result, actor_kind, actor_id, actor_label, request_id, approval_id, agent_id, agent_name, "
    "platform, action, session_id, reason, canonical, hash"
)


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """Statements that change a chain of six rows ($1 stands for its owner), and the verdict afterwards."""

    name: str
    statements: list[str]
    then: Callable[[Database, UUID], None] | None = None
    bad_seq: int
    reason: str
    with_saved: bool = False  # it takes the checkpoint kept elsewhere to see it


def where(condition: str) -> str:
    return f"WHERE owner_id = $1 AND seq {condition}"


def update(change: str, condition: str) -> str:
    return f"UPDATE audit_auditevent SET {change} {where(condition)}"


def delete(condition: str, table: str = "audit_auditevent") -> str:
    return f"DELETE FROM {table} {where(condition)}"


def edit(before: str, after: str, condition: str) -> str:
    return update(f"canonical = replace(canonical, '{before}', '{after}')", condition)


def copy(seq: int, *, to: int, of: str = "$1") -> str:
    """Insert a copy of row SEQ of the owner OF as row TO."""
    return (
        f"INSERT INTO audit_auditevent (id, owner_id, seq, {_COLUMNS}) "
        f"SELECT gen_random_uuid(), $1, {to}, {_COLUMNS} FROM audit_auditevent WHERE owner_id = {of} AND seq = {seq}"
    )


def recompute(from_seq: int) -> Callable[[Database, UUID], None]:
    """Give every row from FROM_SEQ on its hash, and the head its place, as if nothing had happened."""

    def run(db: Database, owner_id: UUID) -> None:
        rows = db.execute(
            "SELECT seq, hash, canonical FROM audit_auditevent WHERE owner_id = %s ORDER BY seq", [owner_id]
        ).fetchall()
        previous = bytes(32)
        for seq, stored, canonical in rows:
            if seq < from_seq:
                previous = stored
                continue
            previous = hashlib.sha256(b"agentvalet audit v1\n" + previous + canonical.encode()).digest()
            db.execute(
                "UPDATE audit_auditevent SET hash = %s WHERE owner_id = %s AND seq = %s", [previous, owner_id, seq]
            )
        db.execute(
            "UPDATE audit_chainhead SET seq = %s, hash = %s WHERE owner_id = %s", [len(rows), previous, owner_id]
        )

    return run


EDIT_4 = update("action = 'chat:read', canonical = replace(canonical, 'chat:write 4', 'chat:read')", "= 4")
SHIFT_UP_FROM_4 = [update("seq = seq + 1000", ">= 4"), copy(3, to=4), update("seq = seq - 999", "> 1000")]

TAMPERINGS = [
    Tampering(
        name="edited, text and column",
        statements=[EDIT_4],
        bad_seq=4,
        reason="its hash does not follow",
    ),
    Tampering(
        name="edited, text only",
        statements=[edit("allowed", "denied", "= 2")],
        bad_seq=2,
        reason="its hash does not follow",
    ),
    Tampering(
        name="edited, a space in the text",
        statements=[update("canonical = canonical || ' '", "= 5")],
        bad_seq=5,
        reason="its hash does not follow",
    ),
    Tampering(
        name="edited, no JSON left",
        statements=[update("canonical = ''", "= 5")],
        bad_seq=5,
        reason="no audit record",
    ),
    Tampering(
        name="edited, JSON of another kind",
        statements=[update("canonical = '[1]'", "= 5")],
        bad_seq=5,
        reason="no audit record",
    ),
    Tampering(
        name="edited, JSON without end",
        statements=[update("canonical = repeat('[', 100000)", "= 5")],
        bad_seq=5,
        reason="no audit record",
    ),
    Tampering(
        name="edited, hash only",
        statements=[update("hash = sha256('x')", "= 3")],
        bad_seq=3,
        reason="its hash does not follow",
    ),
    Tampering(
        name="deleted, first",
        statements=[delete("= 1")],
        bad_seq=1,
        reason="deleted",
    ),
    Tampering(
        name="deleted, middle",
        statements=[delete("IN (3, 4)")],
        bad_seq=3,
        reason="deleted",
    ),
    Tampering(
        name="deleted, gap closed",
        statements=[delete("= 3"), update("seq = seq + 1000", "> 3"), update("seq = seq - 1001", "> 1000")],
        bad_seq=3,
        reason="recorded as row 4",
    ),
    Tampering(
        name="deleted, gap closed, chain recomputed",
        statements=[delete("= 3"), update("seq = seq + 1000", "> 3"), update("seq = seq - 1001", "> 1000")],
        then=recompute(3),
        bad_seq=3,
        reason="recorded as row 4",
    ),
    Tampering(
        name="inserted, later rows moved up",
        statements=SHIFT_UP_FROM_4,
        bad_seq=4,
        reason="recorded as row 3",
    ),
    Tampering(
        name="inserted, renumbered in its text",
        statements=[*SHIFT_UP_FROM_4, edit('"seq":3', '"seq":4', "= 4")],
        bad_seq=4,
        reason="edited or inserted",
    ),
    Tampering(
        name="inserted, at the end",
        statements=[copy(6, to=7)],
        bad_seq=7,
        reason="inserted",
    ),
    Tampering(
        name="inserted, row 0",
        statements=[copy(1, to=0)],
        bad_seq=0,
        reason="numbered from 1",
    ),
    Tampering(
        name="reordered",
        statements=[update("seq = 0", "= 4"), update("seq = 4", "= 5"), update("seq = 5", "= 0")],
        bad_seq=4,
        reason="recorded as row 5",
    ),
    Tampering(
        name="reordered, chain recomputed",
        statements=[update("seq = 0", "= 4"), update("seq = 4", "= 5"), update("seq = 5", "= 0")],
        then=recompute(4),
        bad_seq=4,
        reason="recorded as row 5",
    ),
    Tampering(
        name="tail cut off",
        statements=[delete("> 4")],
        bad_seq=5,
        reason="cut off",
    ),
    Tampering(
        name="tail cut off, head set back",
        statements=[delete("> 4")],
        then=recompute(5),
        bad_seq=5,
        reason="cut off",
    ),
    Tampering(
        name="tail cut off, head set back, later checkpoints deleted",
        statements=[delete("> 4"), delete("> 4", "audit_checkpoint")],
        then=recompute(5),
        bad_seq=5,
        reason="cut off",
        with_saved=True,
    ),
    Tampering(
        name="everything deleted",
        statements=[delete("> 0", table) for table in TABLES],
        bad_seq=1,
        reason="cut off",
        with_saved=True,
    ),
    Tampering(
        name="head set back",
        statements=[f"UPDATE audit_chainhead SET seq = 4 {where('= 6')}"],
        bad_seq=5,
        reason="the head of the chain is at row 4",
    ),
    Tampering(
        name="head deleted",
        statements=[delete("= 6", "audit_chainhead")],
        bad_seq=1,
        reason="the head of the chain is at row 0",
    ),
    Tampering(
        name="head given another hash",
        statements=[f"UPDATE audit_chainhead SET hash = sha256('x') {where('= 6')}"],
        bad_seq=6,
        reason="the head of the chain has another hash",
    ),
    Tampering(
        name="suffix recomputed",
        statements=[EDIT_4],
        then=recompute(4),
        bad_seq=4,
        reason="up to 6, was changed and the chain recomputed",
    ),
    Tampering(
        name="suffix recomputed, later checkpoints deleted",
        statements=[EDIT_4, delete("> 3", "audit_checkpoint")],
        then=recompute(4),
        bad_seq=4,
        reason="recomputed",
        with_saved=True,
    ),
    Tampering(
        name="suffix recomputed, all checkpoints deleted",
        statements=[EDIT_4, delete("> 0", "audit_checkpoint")],
        then=recompute(4),
        bad_seq=1,
        reason="up to 6, was changed",
        with_saved=True,
    ),
    Tampering(
        name="copied from another owner",
        statements=[delete("= 4"), copy(4, to=4, of=f"'{OTHER_OWNER}'")],
        bad_seq=4,
        reason=f"recorded for owner {OTHER_OWNER}",
    ),
    Tampering(
        name="appended from another owner, chain recomputed",
        statements=[copy(6, to=7, of=f"'{OTHER_OWNER}'")],
        then=recompute(7),
        bad_seq=7,
        reason=f"recorded for owner {OTHER_OWNER}",
    ),
    Tampering(
        name="checkpoint edited",
        statements=[f"UPDATE audit_checkpoint SET hash = sha256('x') {where('= 3')}"],
        bad_seq=3,
        reason="signature",
    ),
    Tampering(
        name="checkpoint moved to another row",
        statements=[f"UPDATE audit_checkpoint SET seq = 2 {where('= 3')}"],
        bad_seq=2,
        reason="signature",
    ),
]
