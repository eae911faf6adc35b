"""The first run: as long as there is no owner, whoever has the console's secret makes the first one, and its admin."""

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from agents.lifecycle import one_line
from agents.members import settle_staff
from agents.models import Member, Owner, Role, User
from agents.profile import check_password_choice
from agents.set_up_secret import is_set_up_secret
from audit.events import Actor, Event, Result
from audit.records import record


class AlreadySetUp(Exception):
    """There is an owner: this way in is closed."""


class SetUpRefused(ValueError):
    """What was typed does not do. The text is one sentence."""


def is_needed() -> bool:
    return not Owner.objects.exists()


def make_first_owner(
    *,
    secret: str,
    owner_name: str,
    email: str,
    name: str,
    password: str,
    request_id: UUID | None,
    address: str | None,
    now: datetime,
) -> Member:
    """The owner and its admin. The secret is good for one time, as there is an owner then.

    Locks: the table of owners, against a second one made at the same moment.

    Raises:
        AlreadySetUp, SetUpRefused: see there.
        PasswordRefused: see `agents.profile.check_password_choice`.
    """
    if not is_needed():
        raise AlreadySetUp
    if not is_set_up_secret(secret):
        raise SetUpRefused("That is not the secret that the server has printed on its console.")
    owner_name, email = one_line(owner_name), email.strip().lower()
    if not owner_name:
        raise SetUpRefused("Give the organisation a name.")
    check_password_choice(password=password, user=User(email=email, name=name))
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE agents_owner IN SHARE ROW EXCLUSIVE MODE")
        if not is_needed():
            raise AlreadySetUp
        if User.objects.filter(email__iexact=email).exists():
            raise SetUpRefused("There is an account with this e-mail address already: take another one.")
        owner = Owner.objects.create(name=owner_name)
        user = User.objects.create_user(email, password, name=one_line(name))
        member = Member.objects.create(owner=owner, user=user, role=Role.ADMIN)
        settle_staff(user)
        facts = {Event.OWNER_CREATED: {"name": owner.name}, Event.MEMBER_ADDED: {"email": email, "role": member.role}}
        for event, metadata in facts.items():
            record(
                event=event,
                result=Result.INFO,
                owner_id=owner.pk,
                actor=Actor("system", "set-up", "the set-up page"),
                now=now,
                request_id=request_id,
                metadata={**metadata, "address": address},
            )
    return member
