"""Letting in a program that registered itself, with the permissions its owner picks, or turning it away."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from agents.lifecycle import NotAllowed, create_agent
from agents.models import AgentStatus, Member
from audit.events import Actor, Event, Result
from notifications.inbox import withdraw
from platforms.asks import Registration, RegistrationStatus
from platforms.grants import Change, Choice, give_chosen, hold_chosen
from platforms.registrations import record_step, tag_of

ANSWER_LIFETIME = timedelta(days=1)  # how long a decided registration's token still answers


class AlreadyDecided(Exception):
    """Somebody was first, or it ran out. `registration` says which."""

    def __init__(self, registration: Registration) -> None:
        super().__init__(f"{registration.pk} is {registration.status}")
        self.registration = registration


def approve(
    *, member: Member, registration: UUID, grants: Sequence[Choice], request_id: UUID, now: datetime
) -> Registration:
    """Make the program an agent with the permissions picked (none is a choice, too). A taken name gets a number.

    Locks: the registration, what is to be granted, its line in the inbox, the owner.

    Raises:
        NotAllowed: the member is no admin.
        Registration.DoesNotExist: the member's owner has no such registration.
        AlreadyDecided: somebody was first, or it ran out.
        NoSuchScope: see `platforms.grants.give_chosen`; nothing was changed.
    """
    with transaction.atomic(durable=True):
        found = _locked(member, registration, now)
        hold_chosen(owner=member.owner, choices=grants)
        change = Change(actor=_actor(member), request_id=request_id, now=now)
        withdraw(owner_id=member.owner_id, tag=tag_of(found), now=now)
        found.agent = create_agent(
            owner_id=member.owner_id,
            name=found.agent_name,
            description=found.description,
            status=AgentStatus.ACTIVE,
            number_if_taken=True,
            actor=change.actor,
            now=now,
            request_id=request_id,
        )
        _decide(found, RegistrationStatus.APPROVED, member=member, now=now)
        for choice in grants:
            give_chosen(agent=found.agent, owner=member.owner, choice=choice, change=change)
        record_step(
            Event.REGISTRATION_APPROVED, Result.ALLOWED, found, actor=change.actor, request_id=request_id, now=now
        )
    return found


def reject(*, member: Member, registration: UUID, request_id: UUID, now: datetime) -> Registration:
    """Turn the program away. Raises NotAllowed, Registration.DoesNotExist and AlreadyDecided as `approve` does."""
    with transaction.atomic(durable=True):
        found = _locked(member, registration, now)
        withdraw(owner_id=member.owner_id, tag=tag_of(found), now=now)
        _decide(found, RegistrationStatus.REJECTED, member=member, now=now)
        record_step(
            Event.REGISTRATION_REJECTED, Result.DENIED, found, actor=_actor(member), request_id=request_id, now=now
        )
    return found


def _locked(member: Member, registration: UUID, now: datetime) -> Registration:
    if not member.may_administer:
        raise NotAllowed
    found = (
        Registration.objects.for_owner(member.owner).select_for_update(of=("self",), no_key=True).get(pk=registration)
    )
    if found.status != RegistrationStatus.PENDING or now >= found.expires_at:
        raise AlreadyDecided(found)
    return found


def _decide(registration: Registration, status: RegistrationStatus, *, member: Member, now: datetime) -> None:
    registration.status = status
    registration.decided_at = now
    registration.decided_by = member.user.email
    registration.expires_at = now + ANSWER_LIFETIME
    registration.save(update_fields=["status", "agent", "decided_at", "decided_by", "expires_at"])


def _actor(member: Member) -> Actor:
    return Actor("member", str(member.user_id), member.user.email)
