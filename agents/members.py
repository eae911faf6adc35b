"""Who belongs to an owner, in which role: inviting, changing a role, removing. Admins do, on record; all roles see.

Locks: the owner's row, which holds whatever changes its members, then the chain heads in the order of their owners.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Member, Owner, Role, User
from agents.onetime import hash_of, new_secret
from agents.people_models import Invitation, Session
from audit.events import JSON, Actor, Event, Result
from audit.records import record

INVITATION_LIFETIME = timedelta(hours=72)
MOST_INVITATIONS = 50  # open ones of an owner


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, and the token of its link, which is not kept."""

    invitation: Invitation
    token: str


def members_of(owner: Owner) -> QuerySet[Member]:
    return Member.objects.for_owner(owner).select_related("user").order_by("user__email")


def open_invitations_of(owner: Owner, *, now: datetime) -> QuerySet[Invitation]:
    """Those whose link still works, the newest first."""
    found = Invitation.objects.filter(owner=owner, expires_at__gt=now, invited_by__role=Role.ADMIN)
    return found.select_related("invited_by__user").order_by("-created_at", "-pk")


def invite(*, member: Member, email: str, role: Role, request_id: UUID | None, now: datetime) -> Invited:
    """A link for one person, good once, for 72 hours; an earlier one for the same address is void.

    The caller sends it once this has been committed.

    Raises:
        NotAllowed: the member is no admin.
        NotPossible: the person is a member already; or too many invitations are open.
    """
    _check(member)
    email = email.strip().lower()
    token = new_secret("join")
    with transaction.atomic(durable=True):
        _lock(member.owner_id)
        if Member.objects.filter(owner_id=member.owner_id, user__email__iexact=email).exists():
            raise NotPossible(f"{email} is a member already.")
        open_ones = Invitation.objects.filter(owner_id=member.owner_id)
        open_ones.filter(email=email).delete()
        open_ones.filter(expires_at__lte=now).delete()
        if open_ones.count() >= MOST_INVITATIONS:
            raise NotPossible(f"{MOST_INVITATIONS} invitations are open: withdraw one first.")
        invitation = Invitation.objects.create(
            owner_id=member.owner_id,
            email=email,
            role=role,
            token_hash=hash_of(token),
            invited_by=member,
            created_at=now,
            expires_at=now + INVITATION_LIFETIME,
        )
        _record(Event.MEMBER_INVITED, by=member, request_id=request_id, now=now, about={"email": email, "role": role})
    return Invited(invitation, token)


def withdraw(*, member: Member, invitation_id: int, request_id: UUID | None, now: datetime) -> str:
    """Void an invitation; returns its address. Raises NotAllowed and Invitation.DoesNotExist."""
    _check(member)
    with transaction.atomic():
        _lock(member.owner_id)
        invitation = Invitation.objects.get(pk=invitation_id, owner_id=member.owner_id)
        email = invitation.email
        invitation.delete()
        _record(Event.MEMBER_INVITATION_WITHDRAWN, by=member, request_id=request_id, now=now, about={"email": email})
    return email


def change_role(*, member: Member, member_id: int, role: Role, request_id: UUID | None, now: datetime) -> Member:
    """Another role, from the person's next request on.

    Raises:
        NotAllowed, Member.DoesNotExist: the member is no admin; that one is not of the same owner.
        NotPossible: it is the last admin.
    """
    _check(member)
    with transaction.atomic():
        _lock(member.owner_id)
        changed = _get(member, member_id)
        before = changed.role
        if before == role:
            return changed
        _spare_the_last_admin(changed)
        changed.role = role
        changed.save(update_fields=["role"])
        settle_staff(changed.user)
        _record(
            Event.MEMBER_ROLE_CHANGED,
            by=member,
            request_id=request_id,
            now=now,
            about={"email": changed.user.email, "from": before, "to": role},
        )
    return changed


def remove(*, member: Member, member_id: int, request_id: UUID | None, now: datetime) -> str:
    """Take the person's place here: browsers and command lines are signed out at once; returns the address.

    What they approved and was not sent yet is not sent (`approvals.rights`). The account stays, for other owners.

    Raises:
        NotAllowed, Member.DoesNotExist, NotPossible: as `change_role`.
    """
    _check(member)
    with transaction.atomic():
        _lock(member.owner_id)
        removed = _get(member, member_id)
        _spare_the_last_admin(removed)
        user, role = removed.user, removed.role
        removed.delete()
        browsers, _ = Session.objects.filter(user=user).delete()
        settle_staff(user)
        _record(
            Event.MEMBER_REMOVED,
            by=member,
            request_id=request_id,
            now=now,
            about={"email": user.email, "role": role, "browsers": browsers},
        )
    return user.email


def settle_staff(user: User) -> None:
    """/admin is open to admins and auditors of any owner, and to nobody else. In the caller's transaction."""
    inspects = user.is_superuser or Member.objects.filter(user=user, role__in=[Role.ADMIN, Role.AUDITOR]).exists()
    if user.is_staff != inspects:
        user.is_staff = inspects
        user.save(update_fields=["is_staff"])


def _check(member: Member) -> None:
    if not member.may_administer:
        raise NotAllowed


def _lock(owner_id: UUID) -> None:
    Owner.objects.select_for_update(no_key=True).get(pk=owner_id)


def _get(member: Member, member_id: int) -> Member:
    """Of the same owner; and the acting member is still an admin, under the owner's lock."""
    if not Member.objects.filter(pk=member.pk, role=Role.ADMIN).exists():
        raise NotAllowed
    return Member.objects.select_related("user").get(pk=member_id, owner_id=member.owner_id)


def _spare_the_last_admin(member: Member) -> None:
    if member.role != Role.ADMIN:
        return
    admins = Member.objects.filter(owner_id=member.owner_id, role=Role.ADMIN, user__is_active=True)
    if not admins.exclude(pk=member.pk).exists():
        raise NotPossible(f"{member.user.email} is the last admin: make somebody else one first.")


def _record(event: Event, *, by: Member, request_id: UUID | None, now: datetime, about: dict[str, JSON]) -> None:
    record(
        event=event,
        result=Result.INFO,
        owner_id=by.owner_id,
        actor=Actor("member", str(by.user_id), by.user.email),
        now=now,
        request_id=request_id,
        metadata=about,
    )
