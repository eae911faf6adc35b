"""Putting on record that a passkey of somebody who is signed in did not do: once a minute for each person and check."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.models import User
from agents.passkey_answers import PasskeyRefused
from agents.people_record import record_for_person
from agents.throttling import first_in_a_minute
from audit.events import Event, Result


def note_refusal(
    refusal: PasskeyRefused, *, user: User, request_id: UUID, address: str | None, now: datetime, what: str
) -> None:
    """`what` says what the person was about to do. In a transaction of its own."""
    if not first_in_a_minute(key=f"passkey-refused:{user.pk}:{refusal.check}", now=now):
        return
    with transaction.atomic():
        record_for_person(
            event=Event.PASSKEY_REFUSED,
            user=user,
            request_id=request_id,
            address=address,
            now=now,
            result=Result.DENIED,
            metadata={"check": refusal.check, "what": what},
        )
