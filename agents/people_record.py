"""Putting on record what a person does with the own account: with every owner the person belongs to."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from agents.models import Member, User
from audit.events import JSON, Actor, Event, Result
from audit.records import record


def record_for_person(
    *,
    event: Event,
    user: User,
    request_id: UUID,
    address: str | None,
    now: datetime,
    result: Result = Result.INFO,
    metadata: Mapping[str, JSON] | None = None,
) -> None:
    """An audit row with each owner, in the caller's transaction; chain heads are locked in the order of their ids."""
    for member in Member.objects.filter(user=user).order_by("owner_id"):
        record(
            event=event,
            result=result,
            owner_id=member.owner_id,
            actor=Actor("member", str(user.pk), user.email),
            now=now,
            request_id=request_id,
            metadata={"address": address, **(metadata or {})},
        )
