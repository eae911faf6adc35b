"""record(): the only writer of the audit log."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from audit.events import JSON, Actor, Event, Result


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
    """Append one row to the owner's chain, inside the caller's transaction; returns the audit id."""
    raise NotImplementedError
