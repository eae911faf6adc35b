"""What an admin sets for the whole owner."""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Member, Owner
from audit.events import Actor, Event, Result
from audit.records import record

SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(hours=12)


def approval_lifetime(owner: Owner) -> timedelta:
    """How long a call waits for a person: the owner's choice, else AGENTVALET_APPROVAL_LIFETIME."""
    return timedelta(seconds=owner.approval_lifetime or settings.APPROVAL_LIFETIME)


def set_approval_lifetime(*, member: Member, lifetime: timedelta, request_id: UUID | None, now: datetime) -> None:
    """For calls that come in from now on; those that wait keep the time they were given.

    Raises:
        NotAllowed: the member is no admin.
        NotPossible: it is shorter than SHORTEST or longer than LONGEST.
    """
    if not member.may_administer:
        raise NotAllowed
    if not SHORTEST <= lifetime <= LONGEST:
        raise NotPossible("Give a time between 1 minute and 12 hours (720 minutes).")
    seconds = int(lifetime.total_seconds())
    with transaction.atomic():
        owner = Owner.objects.select_for_update(no_key=True).get(pk=member.owner_id)
        before = owner.approval_lifetime
        if before == seconds:
            return
        owner.approval_lifetime = seconds
        owner.save(update_fields=["approval_lifetime"])
        record(
            event=Event.OWNER_CHANGED,
            result=Result.INFO,
            owner_id=owner.pk,
            actor=Actor("member", str(member.user_id), member.user.email),
            now=now,
            request_id=request_id,
            metadata={"approval_lifetime": {"from": before, "to": seconds}},
        )
