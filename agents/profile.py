"""What a person changes about the own account: the name, and the password."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from agents.lifecycle import one_line
from agents.models import User
from agents.people_record import record_for_person
from agents.sign_ins import end_everywhere
from audit.events import Event


class PasswordRefused(ValueError):
    """Not a password that is taken here. The text says why."""


def check_password_choice(*, password: str, user: User) -> None:
    """Hold a new password against AUTH_PASSWORD_VALIDATORS. Raises PasswordRefused."""
    try:
        validate_password(password, user=user)
    except ValidationError as error:
        raise PasswordRefused(" ".join(error.messages)) from error


def rename(*, user: User, name: str, request_id: UUID, address: str | None, now: datetime) -> None:
    """Another name, or none; at most 200 characters, which the caller has checked."""
    with transaction.atomic():
        row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        before, row.name = row.name, one_line(name)
        if before == row.name:
            return
        row.save(update_fields=["name"])
        record_for_person(
            event=Event.MEMBER_PROFILE_CHANGED,
            user=row,
            request_id=request_id,
            address=address,
            now=now,
            metadata={"name": {"from": before, "to": row.name}},
        )


def change_password(
    *, user: User, password: str, keep: Collection[str], request_id: UUID, address: str | None, now: datetime
) -> User:
    """A new password, and everything that was signed in with the old one is signed out, but for the sessions in `keep`.

    The caller has made sure that it is the person (`agents.confirming`).

    Raises:
        PasswordRefused: see `check_password_choice`.
    """
    check_password_choice(password=password, user=user)
    with transaction.atomic():
        row = User.objects.select_for_update(no_key=True).get(pk=user.pk)
        row.set_password(password)
        row.save(update_fields=["password"])
        record_for_person(
            event=Event.MEMBER_PASSWORD_CHANGED, user=row, request_id=request_id, address=address, now=now
        )
        end_everywhere(user=row, keep=keep, request_id=request_id, address=address, now=now)
    return row
