"""What the registration command line does for a signed-in person: sign in, register, list and revoke agents."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction

from agents.enrolment import bind_key
from agents.keys import make_key_pair
from agents.lifecycle import NotAllowed, create_agent, readable_name
from agents.models import Agent, AgentStatus, CliLogin, CliToken, Member
from agents.onetime import hash_of, new_secret
from audit.events import Actor, Event, Result
from audit.records import record

CODE_LIFETIME = timedelta(minutes=2)  # the browser hands it over at once
TOKEN_LIFETIME = timedelta(days=30)


class LoginGone(Exception):
    """The state was used before, or the code does not belong to it, was used or is too old."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A new agent and its key pair. The private half is nowhere else."""

    agent: Agent
    private_key_pem: str
    public_key_pem: str


def confirm_login(*, member: Member, state: UUID, now: datetime) -> str:
    """The member lets in the command line that made up this state; returns the code that it exchanges for a token.

    Raises:
        LoginGone: a command line was let in with this state before.
    """
    code = new_secret("code")
    CliLogin.objects.filter(expires_at__lt=now - CODE_LIFETIME).delete()
    try:
        with transaction.atomic():
            CliLogin.objects.create(
                member=member,
                state_hash=hash_of(str(state)),
                code_hash=hash_of(code),
                created_at=now,
                expires_at=now + CODE_LIFETIME,
            )
    except IntegrityError as error:
        raise LoginGone from error
    return code


def exchange_code(*, state: UUID, code: str, request_id: UUID, now: datetime) -> tuple[Member, str]:
    """The member who let the command line in, and its token, valid for 30 days.

    Raises:
        LoginGone: see there.
    """
    with transaction.atomic(durable=True):
        login = (
            CliLogin.objects.select_for_update(of=("self",), no_key=True)
            .select_related("member__owner", "member__user")
            .filter(state_hash=hash_of(str(state)), code_hash=hash_of(code), used_at=None, expires_at__gt=now)
            .first()
        )
        if login is None or not login.member.user.is_active:
            raise LoginGone
        login.used_at = now
        login.save(update_fields=["used_at"])
        token = new_secret("avcli")
        CliToken.objects.filter(member=login.member, expires_at__lte=now).delete()
        CliToken.objects.create(
            member=login.member, token_hash=hash_of(token), created_at=now, expires_at=now + TOKEN_LIFETIME
        )
        record(
            event=Event.MEMBER_CLI_SIGNED_IN,
            result=Result.INFO,
            owner_id=login.member.owner_id,
            actor=_actor(login.member),
            now=now,
            request_id=request_id,
        )
    return login.member, token


def member_of_token(*, token: str, now: datetime) -> Member | None:
    """Whose session this is, if it is one."""
    found = (
        CliToken.objects.select_related("member__owner", "member__user")
        .filter(token_hash=hash_of(token), expires_at__gt=now, member__user__is_active=True)
        .first()
    )
    return found.member if found else None


def register_agent(
    *, member: Member, name: str, kind: str, description: str, request_id: UUID, now: datetime
) -> Registered:
    """An active agent without any grant, with a key pair made here: the one way in where the client makes no key.

    A name that is taken gets a number: the command line suggests the same one for every run in a folder.

    Raises:
        NotAllowed: the member is no admin.
        NameRefused: see `agents.lifecycle.readable_name`.
    """
    if not member.may_administer:
        raise NotAllowed
    name = readable_name(name)
    private_pem, public_pem = make_key_pair()
    actor = _actor(member)
    with transaction.atomic(durable=True):
        agent = create_agent(
            owner_id=member.owner_id,
            name=name,
            status=AgentStatus.ACTIVE,
            kind=kind,
            description=description,
            actor=actor,
            now=now,
            request_id=request_id,
            number_if_taken=True,
        )
        bind_key(agent=agent, pem=public_pem, overlap=timedelta(0), actor=actor, now=now, request_id=request_id)
    return Registered(agent, private_pem, public_pem)


def _actor(member: Member) -> Actor:
    return Actor("member", str(member.user_id), member.user.email)
