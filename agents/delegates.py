"""Naming delegates, switching them on and off, and taking them away again."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from agents.delegate_model import Delegate
from agents.lifecycle import NotAllowed
from agents.models import Member, Owner
from audit.events import Actor, Event, Result
from audit.records import record

MOST_DELEGATES = 20  # of one owner


class DelegateRefused(ValueError):
    """Cannot be a delegate. The text says why."""


def add(*, member: Member, email: str, request_id: UUID, now: datetime) -> Delegate:
    """From the next call on, its mailbox gets a link for each. `email` is a valid address.

    Locks: the owner.

    Raises:
        NotAllowed: the member is no admin.
        DelegateRefused: there is one with this address, or there are too many.
    """
    if not member.may_administer:
        raise NotAllowed
    try:
        with transaction.atomic(durable=True):
            Owner.objects.select_for_update(no_key=True).get(pk=member.owner_id)
            if Delegate.objects.for_owner(member.owner).count() >= MOST_DELEGATES:
                raise DelegateRefused(f"There are {MOST_DELEGATES} delegates already: delete one first.")
            delegate = Delegate.objects.create(owner=member.owner, email=email, created_at=now)
            _record(Event.DELEGATE_ADDED, delegate, member, request_id, now)
    except IntegrityError as error:
        raise DelegateRefused(f"{email} is a delegate already.") from error
    return delegate


def set_active(*, member: Member, delegate_id: UUID, active: bool, request_id: UUID, now: datetime) -> Delegate:
    """Links that were sent to one who is not active are dead for that time. Raises as `remove` does."""
    if not member.may_administer:
        raise NotAllowed
    with transaction.atomic(durable=True):
        delegate = _locked(member, delegate_id)
        if delegate.is_active != active:
            delegate.is_active = active
            delegate.save(update_fields=["is_active"])
            event = Event.DELEGATE_ACTIVATED if active else Event.DELEGATE_DEACTIVATED
            _record(event, delegate, member, request_id, now)
    return delegate


def remove(*, member: Member, delegate_id: UUID, request_id: UUID, now: datetime) -> Delegate:
    """Its links are dead from now on; what it decided stays, and is not run any more if it has not begun.

    Raises:
        NotAllowed: the member is no admin.
        Delegate.DoesNotExist: not a delegate of the member's owner.
    """
    if not member.may_administer:
        raise NotAllowed
    with transaction.atomic(durable=True):
        delegate = _locked(member, delegate_id)
        _record(Event.DELEGATE_REMOVED, delegate, member, request_id, now)
        Delegate.objects.filter(pk=delegate.pk).delete()
    return delegate


def has_passkey(delegate: Delegate) -> bool:
    """Whether its mailbox is that of a member of the same owner who has registered a passkey."""
    members = Member.objects.filter(owner_id=delegate.owner_id, user__email__iexact=delegate.email)
    return members.filter(user__passkeys__isnull=False).exists()


def _locked(member: Member, delegate_id: UUID) -> Delegate:
    return Delegate.objects.for_owner(member.owner).select_for_update(of=("self",), no_key=True).get(pk=delegate_id)


def _record(event: Event, delegate: Delegate, member: Member, request_id: UUID, now: datetime) -> None:
    record(
        event=event,
        result=Result.INFO,
        owner_id=member.owner_id,
        actor=Actor("member", str(member.user_id), member.user.email),
        now=now,
        request_id=request_id,
        metadata={"delegate_id": str(delegate.pk), "delegate": delegate.email},
    )
