"""Self-registration: a program without an invite asks to become an agent, reads the answer, claims its key."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from uuid import UUID

from django.db import connection, transaction

from agents.enrolment import add_key
from agents.keys import make_key_pair
from agents.models import Agent, AgentKey, AgentStatus, Owner
from agents.onetime import hash_of, new_secret
from agents.throttling import network_of
from audit.events import JSON, Actor, Event, Result
from audit.records import record
from notifications.inbox import notify, withdraw
from platforms.asks import Registration, RegistrationStatus

PENDING_LIFETIME = timedelta(minutes=10)
MAX_PENDING = 10  # for each owner id: anybody can ask, and a person reads them
MAX_PENDING_OF_ADDRESS = 4  # of these: nobody takes all places alone
SHOWN_AFTER_CLAIM = timedelta(minutes=5)  # what was granted; after that the agent asks with its own key
_KEPT = timedelta(days=1)  # the dead ones, so that their tokens say "gone"
_SWEPT = 100  # rows at a time

ANYBODY = Actor("system", "registration", "self-registration")


class TooManyPending(Exception):
    """Enough programs wait for this owner id, or for it from this network.

    `retry_after` (seconds): until the first of them runs out.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class UnknownToken(Exception):
    """No registration has this token."""


class Gone(Exception):
    """The registration ran out, or its key has been handed out already."""


class NotApproved(Exception):
    """Nobody has let the program in yet."""


class AgentNotActive(Exception):
    """The agent was suspended or revoked before it claimed its key. `status` says which."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """What a program says about itself. `requested` is [{"platform": …, "scopes": […]}]."""

    owner_id: UUID
    name: str
    description: str
    requested: list[dict[str, JSON]]
    address: str | None


def register(*, applicant: Applicant, request_id: UUID, now: datetime) -> tuple[Registration, str]:
    """Put the program before the owner it names; returns the row and the token, which is not kept.

    An owner id that nobody has is answered in the same way, and waits until it runs out; of what the program says about
    itself nothing is kept then, because nobody would ever read it.

    Raises:
        TooManyPending: MAX_PENDING others wait for the same owner id, or MAX_PENDING_OF_ADDRESS from the same network.
    """
    token = new_secret("reg")
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:  # one at a time for each owner id, also for one that does not exist
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"register:{applicant.owner_id}"])
        _forget_dead(now)
        waiting = Registration.objects.waiting(now).filter(claimed_owner_id=applicant.owner_id).order_by("expires_at")
        ends = list(waiting.values_list("expires_at", "address")[:MAX_PENDING])
        network = network_of(applicant.address)
        from_here = [(end, address) for end, address in ends if network_of(address) == network]
        for rows, limit in ((ends, MAX_PENDING), (from_here, MAX_PENDING_OF_ADDRESS)):
            if len(rows) >= limit:
                raise TooManyPending(ceil((rows[0][0] - now).total_seconds()))
        owner = Owner.objects.filter(pk=applicant.owner_id).first()
        registration = Registration.objects.create(
            claimed_owner_id=applicant.owner_id,
            owner=owner,
            token_hash=hash_of(token),
            agent_name=applicant.name if owner else "",
            description=applicant.description if owner else "",
            requested=applicant.requested if owner else [],
            address=applicant.address,
            created_at=now,
            expires_at=now + PENDING_LIFETIME,
        )
        if owner is not None:
            notify(
                owner_id=owner.pk,
                tag=tag_of(registration),
                title=f"{applicant.name} asks to become an agent",
                url="/notifications",
                now=now,
            )
            record_step(
                Event.REGISTRATION_REQUESTED,
                Result.PENDING,
                registration,
                actor=ANYBODY,
                request_id=request_id,
                now=now,
                facts={"address": applicant.address or "", "requested": applicant.requested},
            )
    return registration, token


def find(*, token: str, now: datetime) -> Registration:
    """The registration behind a token, with its agent.

    Raises:
        UnknownToken, or Gone: nobody decided in time, or the decision was long ago.
    """
    registration = Registration.objects.select_related("agent").filter(token_hash=hash_of(token)).first()
    if registration is None:
        raise UnknownToken
    if now >= registration.expires_at:
        raise Gone
    return registration


def outcome(*, token: str, now: datetime) -> Registration:
    """As `find`, for whoever waits for the answer. An agent that was stopped has none any more: Gone."""
    registration = find(token=token, now=now)
    if registration.agent is not None and registration.agent.status != AgentStatus.ACTIVE:
        raise Gone
    return registration


def claim_key(*, token: str, request_id: UUID, now: datetime) -> str:
    """Make the agent's key pair and return the private half (PKCS#8 PEM), this once; only the public half is kept.

    Locks: the agent, then the registration. A pair costs a tenth of a second of a processor, so none is made for a
    request that will be refused.

    Raises:
        UnknownToken, NotApproved, AgentNotActive.
        Gone: rejected, too late, claimed before, or the agent has got a key in another way.
    """
    found = find(token=token, now=now)
    agent_id = _claimable(found, found.agent).pk
    private_pem, public_pem = make_key_pair()
    with transaction.atomic(durable=True):
        agent = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent_id)  # as whoever binds a key
        registration = Registration.objects.select_for_update(of=("self",), no_key=True).get(pk=found.pk)
        _claimable(registration, agent)
        registration.claimed_at = now
        registration.save(update_fields=["claimed_at"])
        key, _ = add_key(agent=agent, pem=public_pem)
        record(
            event=Event.AGENT_KEY_BOUND,
            result=Result.INFO,
            owner_id=agent.owner_id,
            actor=Actor("agent", agent.pk, agent.name),
            now=now,
            request_id=request_id,
            agent_id=agent.pk,
            agent_name=agent.name,
            metadata={"thumbprint": key.thumbprint, "registration": str(registration.pk)},
        )
    return private_pem


def _claimable(registration: Registration, agent: Agent | None) -> Agent:
    """The agent, if its key is there to be claimed. Raises NotApproved, Gone and AgentNotActive."""
    if registration.status == RegistrationStatus.PENDING:
        raise NotApproved
    if agent is None or registration.claimed_at or AgentKey.objects.filter(agent=agent).exists():
        raise Gone
    if agent.status != AgentStatus.ACTIVE:
        raise AgentNotActive(agent.status)
    return agent


def prune(*, now: datetime) -> None:
    """Forget every program that nobody let in, a day after it could have been."""
    while True:
        with transaction.atomic(durable=True):
            if _forget_dead(now) < _SWEPT:
                return


def _forget_dead(now: datetime) -> int:
    """Rows of programs that nobody let in must not pile up: each new one sweeps some. Returns how many."""
    dead = Registration.objects.filter(agent=None, expires_at__lt=now - _KEPT).order_by("expires_at")
    rows = list(dead.select_for_update(of=("self",), skip_locked=True)[:_SWEPT])
    for row in rows:
        if row.owner_id is not None:
            withdraw(owner_id=row.owner_id, tag=tag_of(row), now=now)
    Registration.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def tag_of(registration: Registration) -> str:
    """Of its line in the inbox."""
    return f"registration:{registration.pk}"


def record_step(
    event: Event,
    result: Result,
    registration: Registration,
    *,
    actor: Actor,
    request_id: UUID,
    now: datetime,
    facts: dict[str, JSON] | None = None,
) -> None:
    """Put a step of a registration on record, if it names an owner that exists."""
    if registration.owner_id is None:
        return
    record(
        event=event,
        result=result,
        owner_id=registration.owner_id,
        actor=actor,
        now=now,
        request_id=request_id,
        agent_id=registration.agent_id or "",
        agent_name=registration.agent.name if registration.agent else registration.agent_name,
        metadata={"registration": str(registration.pk), **(facts or {})},
    )
