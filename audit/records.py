"""record(): the only writer of the audit log."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid4

from django.db import connection, transaction

from audit.chain import COLUMNS, DOMAIN, GENESIS, LONG_TEXT, SHORT_TEXT, canonical_body, column_text, shortened, timestamp
from audit.events import JSON, Actor, Event, Result

# One statement, one round trip. The upsert locks the owner's head and takes the next number; a second writer waits
# here until the first commits, and then reads the committed head. A rollback takes number, hash and row back together.
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
SELECT head.seq, head.hash, '{{"seq":' || head.seq::text || %(body)s::text, {", ".join(f"%({name})s" for name in COLUMNS)}
FROM head
"""  # noqa: S608 - made of constants; every value is a parameter


def record(
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
) -> UUID:
    """Append one row to the owner's chain, inside the caller's transaction; returns the audit id (a UUID4).

    Locks: the head of the owner's chain, until the caller's transaction ends. Make it the last lock you take, write
    no row lock after it and do no network call: then it is held for a commit's length and cannot close a deadlock.
    A transaction that records for several owners does so in the order of their ids.

    Text may hold anything: lone surrogates become U+FFFD, texts over 300 characters (`reason`: 2,000) and metadata
    over 16 KiB are cut, and the cut shows. Secrets are the caller's to keep out.

    Raises TransactionManagementError outside a transaction, TypeError for metadata that is not JSON (bytes among
    it), ValueError for NaN, infinity and a `now` without time zone. A database error leaves the caller's transaction
    unusable, so the change that could not be recorded does not happen.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("audit.record() belongs into the transaction of what it records")
    audit_id = uuid4()
    recorded: dict[str, str | None] = {
        "id": str(audit_id),
        "owner_id": str(owner_id),
        "at": timestamp(now),
        "event": str(event),
        "result": str(result),
        "actor_kind": shortened(actor.kind, SHORT_TEXT),
        "actor_id": shortened(actor.id, SHORT_TEXT),
        "actor_label": shortened(actor.label, SHORT_TEXT),
        "request_id": None if request_id is None else str(request_id),
        "approval_id": None if approval_id is None else str(approval_id),
        "agent_id": shortened(agent_id, SHORT_TEXT),
        "agent_name": shortened(agent_name, SHORT_TEXT),
        "platform": shortened(platform, SHORT_TEXT),
        "action": shortened(action, SHORT_TEXT),
        "session_id": shortened(session_id, SHORT_TEXT),
        "reason": shortened(reason, LONG_TEXT),
    }
    body = canonical_body(recorded, metadata)
    values: dict[str, object] = {name: text and column_text(text) for name, text in recorded.items()}
    values |= {"id": audit_id, "owner_id": owner_id, "at": now, "request_id": request_id, "approval_id": approval_id}
    with connection.cursor() as cursor:
        cursor.execute(_APPEND, values | {"body": body})
    return audit_id
