"""Becoming a member: through an invitation's link, with a new account or the one that the address has already."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.lifecycle import one_line
from agents.members import settle_staff
from agents.models import Member, Owner, User
from agents.onetime import hash_of
from agents.people_models import Invitation
from agents.profile import check_password_choice
from audit.events import Actor, Event, Result
from audit.records import record


class NoInvitation(Exception):
    """Unknown, used, withdrawn, out of date, or its inviter is no admin any more: nobody is told which."""


class SignInFirst(Exception):
    """The address has an account: only who is signed in with it joins."""


def find_invitation(*, token: str, now: datetime) -> Invitation:
    """Raises NoInvitation."""
    found = (
        Invitation.objects.select_related("owner", "invited_by__user")
        .filter(token_hash=hash_of(token), expires_at__gt=now)
        .first()
    )
    if found is None or not found.invited_by.may_administer or not found.invited_by.user.is_active:
        raise NoInvitation
    return found


def has_account(invitation: Invitation) -> bool:
    return User.objects.filter(email__iexact=invitation.email).exists()


def join(
    *,
    token: str,
    user: User | None,
    name: str,
    password: str,
    request_id: UUID,
    address: str | None,
    now: datetime,
) -> Member:
    """Make the invited person a member, and the link void. `user` is who is signed in.

    Where the address has no account, one is made with `name` and `password`; else `user` has to be it.

    Locks: the owner, as `agents.members` does.

    Raises:
        NoInvitation, SignInFirst: see there.
        PasswordRefused: see `agents.profile.check_password_choice`.
    """
    found = find_invitation(token=token, now=now)
    owner_id = found.owner_id
    if not has_account(found):
        check_password_choice(password=password, user=User(email=found.email, name=name))
    with transaction.atomic(durable=True):
        Owner.objects.select_for_update(no_key=True).get(pk=owner_id)
        invitation = find_invitation(token=token, now=now)
        account = User.objects.filter(email__iexact=invitation.email).first()
        if account is None:
            account = User.objects.create_user(invitation.email, password, name=one_line(name))
        elif user is None or account.pk != user.pk or not account.is_active:
            raise SignInFirst
        member, _ = Member.objects.get_or_create(owner_id=owner_id, user=account, defaults={"role": invitation.role})
        settle_staff(account)
        invited_by = invitation.invited_by.user.email
        invitation.delete()
        record(
            event=Event.MEMBER_JOINED,
            result=Result.INFO,
            owner_id=owner_id,
            actor=Actor("member", str(account.pk), account.email),
            now=now,
            request_id=request_id,
            metadata={"role": member.role, "invited_by": invited_by, "address": address},
        )
    return member
