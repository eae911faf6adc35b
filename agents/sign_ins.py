"""Where a person is signed in, browsers and command lines: seeing it, and ending it."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from agents.models import CliToken, User
from agents.people_models import Session
from agents.people_record import record_for_person
from audit.events import Event


def sessions_of(*, user: User, now: datetime) -> QuerySet[Session]:
    """Browsers, the one seen last first."""
    return Session.objects.filter(user=user, expire_date__gt=now).order_by("-seen_at", "session_key")


def command_lines_of(*, user: User, now: datetime) -> QuerySet[CliToken]:
    """Command lines, the newest first."""
    tokens = CliToken.objects.filter(member__user=user, expires_at__gt=now).select_related("member__owner")
    return tokens.order_by("-created_at", "-pk")


def end_session(*, user: User, session_id: str, request_id: UUID, address: str | None, now: datetime) -> None:
    """Sign one browser of the person out; its next request is a stranger's. Raises Session.DoesNotExist."""
    with transaction.atomic():
        session = Session.objects.select_for_update().get(pk=session_id, user=user)
        device = session.device
        session.delete()
        record_for_person(
            event=Event.MEMBER_SESSIONS_ENDED,
            user=user,
            request_id=request_id,
            address=address,
            now=now,
            metadata={"browsers": 1, "device": device},
        )


def end_command_line(*, user: User, token_id: int, request_id: UUID, address: str | None, now: datetime) -> None:
    """Take a command line's token. Raises CliToken.DoesNotExist."""
    with transaction.atomic():
        CliToken.objects.select_for_update(of=("self",)).get(pk=token_id, member__user=user).delete()
        record_for_person(event=Event.MEMBER_CLI_SIGNED_OUT, user=user, request_id=request_id, address=address, now=now)


def end_everywhere(
    *, user: User, keep: Collection[str] = (), request_id: UUID, address: str | None, now: datetime
) -> None:
    """Sign all browsers of the person out, but those in `keep` (stored keys), and all command lines."""
    with transaction.atomic():
        browsers, _ = Session.objects.filter(user=user).exclude(pk__in=keep).delete()
        command_lines, _ = CliToken.objects.filter(member__user=user).delete()
        record_for_person(
            event=Event.MEMBER_SESSIONS_ENDED,
            user=user,
            request_id=request_id,
            address=address,
            now=now,
            metadata={"browsers": browsers, "command_lines": command_lines},
        )
