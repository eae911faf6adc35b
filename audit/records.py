"""record(): the only writer of the audit log."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid4

from django.db import connection, transaction

from audit.chain import COLUMNS, DOMAIN, GENESIS, canonical_body, column_text, timestamp
from audit.events import JSON, Actor, Event, Result
from audit.recordable import LONG_TEXT, SHORT_TEXT, shortened

# One statement, one round trip. The upsert locks the owner's head and takes the next number; a second writer
# waits here until the first has committed and then reads the head it left. A rollback takes back number, hash and
# row together. sha256() and convert_to() are PostgreSQL's own; the verifier computes the same with hashlib.
_APPEND = f"""
WITH head AS (
    INSERT INTO audit_chainhead AS h (owner_id, seq, hash)
    VALUES (%(owner_id)s, 1, sha256('\\x{(DOMAIN + GENESIS).hex()}'::bytea
                                    || convert_to('{{"seq":1' || %(body)s::text, 'UTF8')))
    ON CONFLICT (owner_id) DO UPDATE
        SET seq = h.seq + 1,
            hash = sha256('\\x{DOMAIN.hex()}'::bytea || h.hash
                          || convert_to('{{"seq":' || (h.seq + 1)::text || %(body)s::text, 'UTF8'))
    RETURNING seq, hash
)
INSERT INTO audit_auditevent (seq, hash, canonical, {", ".join(COLUMNS)})
SELECT head.seq, head.hash, '{{"seq":' || head.seq::text || %(body)s::text,
       {", ".join(f"%({name})s" for name in COLUMNS)}
FROM head
"""  # noqa: S608 - put together from constants; every value is a parameter


def hold_head(owner_id: UUID) -> None:
    """Wait for everybody who has recorded for the owner, and let nobody record until the caller's transaction ends.

    What is read afterwards is as new as what is on record: a right whose loss stands in an earlier row is seen lost.
    Locks: the head of the owner's chain; as with `record`, after it no other row lock and no network call.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM audit_chainhead WHERE owner_id = %s FOR NO KEY UPDATE", [owner_id])


def record(  # noqa: PLR0913 - a row has this many facts, and callers name each
    *,
    event: Event,
    result: Result,
    owner_id: UUID,
    actor: Actor,
    now: datetime,
    request_id: UUID | None = None,
    approval_id: UUID | None = None,
    agent_id: str = "",
    agent_name: str = "",
    platform: str = "",
    action: str = "",
    session_id: str = "",
    reason: str = "",
    metadata: Mapping[str, JSON] | None = None,
    audit_id: UUID | None = None,
) -> UUID:
    """Append one row to the owner's chain, inside the caller's transaction; returns the audit id (a UUID4).

    A caller whose change names the row that records it brings a fresh `audit_id` along.

    Locks: the head of the owner's chain, until the caller's transaction ends. Make it the last lock you take:
    after it no other row lock and no network call, then it is held no longer than a commit takes and cannot close
    a deadlock. A transaction that records for several owners does so in the order of their ids.

    Text may hold anything: lone surrogates become U+FFFD; texts over 300 characters (`reason`: 2,000) and metadata
    over 16 KiB are cut, and the cut shows. Keeping secrets out is the caller's duty.

    Raises TransactionManagementError outside a transaction, TypeError for metadata that is not JSON (bytes, for
    one), ValueError for NaN, infinity and a `now` without time zone. After a database error the caller's
    transaction cannot commit: what could not be recorded does not happen.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("record() belongs into the transaction of what it records")
    audit_id = audit_id or uuid4()
    texts = {
        "event": str(event),
        "result": str(result),
        "actor_kind": shortened(actor.kind, SHORT_TEXT),
        "actor_id": shortened(actor.id, SHORT_TEXT),
        "actor_label": shortened(actor.label, SHORT_TEXT),
        "agent_id": shortened(agent_id, SHORT_TEXT),
        "agent_name": shortened(agent_name, SHORT_TEXT),
        "platform": shortened(platform, SHORT_TEXT),
        "action": shortened(action, SHORT_TEXT),
        "session_id": shortened(session_id, SHORT_TEXT),
        "reason": shortened(reason, LONG_TEXT),
    }
    ids = {"id": audit_id, "owner_id": owner_id, "request_id": request_id, "approval_id": approval_id}
    recorded = {
        "at": timestamp(now),
        **{name: None if value is None else str(value) for name, value in ids.items()},
        **texts,
    }
    values: dict[str, str | UUID | datetime | None] = {
        "body": canonical_body(record=recorded, metadata=metadata or {}),
        "at": now,
        **ids,
        **{name: column_text(text) for name, text in texts.items()},
    }
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, values)
    return audit_id
