"""Fills a database as years would: one owner, 500 calls that wait, 1,000,000 audit rows in one real chain."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from django.db import connection, transaction

from agents.authentication import Caller
from agents.models import Agent, AgentStatus, Member, Owner, Role, User
from approvals.actions import Action
from approvals.services import submit_action
from audit.chain import COLUMNS, GENESIS, canonical_body, chain_hash, timestamp
from audit.checks import note
from audit.events import JSON, Event, Result
from audit.verify import Verdict
from platforms.destinations import bind
from platforms.models import Connection, Grant, Platform, Scope, credential_aad
from platforms.vault import seal

AGENTS = 50
DAYS = 365
PLATFORMS = ("acme-chat", "github", "stripe", "gmail", "notion", "linear")
# Out of 1,000 rows. `unknown` and one reason are made rare below, as they are in life.
KINDS = (
    (450, Event.ACTION_SENDING, Result.INFO, ""),
    (400, Event.ACTION_ALLOWED, Result.ALLOWED, ""),
    (50, Event.ACTION_DENIED, Result.DENIED, "endpoint_scope_mismatch"),
    (10, Event.ACTION_FAILED, Result.ERROR, "upstream_timeout"),
    (25, Event.APPROVAL_REQUESTED, Result.PENDING, "Announce the release"),
    (20, Event.APPROVAL_APPROVED, Result.ALLOWED, ""),
    (5, Event.APPROVAL_DENIED, Result.DENIED, "Not on a Friday"),
    (20, Event.APPROVAL_EXECUTED, Result.ALLOWED, ""),
    (20, Event.MEMBER_SIGNED_IN, Result.INFO, ""),
)
RARE = 100_000  # one row in so many


def make_owner() -> Member:
    """An owner with an admin who may open /admin, agents, one platform."""
    owner = Owner.objects.create(name="Bench")
    user = User.objects.create_user("admin@bench.example", is_staff=True)
    platform = Platform.objects.create(
        owner=owner, slug="acme-chat", name="Acme Chat", base_url="https://chat.example.com", auth={"type": "bearer"}
    )
    scope = Scope.objects.create(platform=platform, name="chat:write", rules=["POST /**"])
    used = Connection(platform=platform, label="Main", is_default=True, credential_version=1)
    sealed = seal("token", aad=credential_aad(connection_id=used.pk, version=1))
    used.credential_key_id, used.credential_wrapped_key = sealed.key_id, sealed.wrapped_key
    used.credential_ciphertext = sealed.ciphertext
    bind(used, platform)
    used.save()
    for number in range(AGENTS):
        agent = Agent.objects.create(owner=owner, name=f"agent-{number:02}", status=AgentStatus.ACTIVE)
        Grant.objects.create(agent=agent, scope=scope, require_approval=True)
    return Member.objects.create(owner=owner, user=user, role=Role.ADMIN)


def fill_audit_log(*, owner: Owner, rows: int, now: datetime) -> None:
    """COPY so many rows, hashed by the real code; head and last check as record() and the verifier leave them.

    Left out: one transaction for each row, and the checkpoints of every minute. The chain has to be empty.
    """
    last = GENESIS
    agents = list(Agent.objects.for_owner(owner).order_by("name").values_list("pk", "name"))
    columns = ", ".join(("seq", "hash", "canonical", *COLUMNS))
    with transaction.atomic(), connection.cursor() as cursor:
        with cursor.copy(f"COPY audit_auditevent ({columns}) FROM STDIN") as copy:
            for seq, fields, body in _records(owner, agents, rows, now):
                canonical = f'{{"seq":{seq}{body}'
                last = chain_hash(previous=last, canonical=canonical)
                copy.write_row((seq, last, canonical, *fields))
        cursor.execute("INSERT INTO audit_chainhead (owner_id, seq, hash) VALUES (%s, %s, %s)", [owner.pk, rows, last])
    verdict = Verdict(
        owner_id=owner.pk,
        seq=rows,
        chain_hash=last,
        checkpoint_seq=None,
        foreign_checkpoints=0,
        bad_seq=None,
        reason="",
    )
    note(verdict=verdict, is_whole=True, now=now)


def _records(
    owner: Owner, agents: list[tuple[str, str]], rows: int, now: datetime
) -> Iterator[tuple[int, tuple[object, ...], str]]:
    """Number, columns and canonical body of each row. Half of the calls are the first agent's."""
    kinds = [kind for count, *kind in KINDS for _ in range(count)]
    begin, step = now - timedelta(days=DAYS), timedelta(days=DAYS) / (rows + 1)
    request_id, approval_id = uuid4(), uuid4()
    for seq in range(1, rows + 1):
        event, result, reason = kinds[seq * 7919 % 1000]
        if seq % RARE == 7:
            event, result, reason = Event.APPROVAL_OUTCOME_UNKNOWN, Result.UNKNOWN, "a needle in the hay"
        if seq % 2:
            request_id = uuid4()
        if seq % 40 == 1:
            approval_id = uuid4()
        agent_id, name = agents[0] if seq % 2 else agents[seq * 31 % AGENTS]
        of_approval = str(event).startswith("approval.")
        at = begin + seq * step
        platform = "rare" if seq % RARE == 8 else PLATFORMS[seq * 17 % len(PLATFORMS)]
        texts = (agent_id, name, platform, "chat:write", "", reason)
        fields = (
            uuid4(), owner.pk, at, str(event), str(result), "agent", agent_id, name, request_id,
            approval_id if of_approval else None, *texts,
        )  # fmt: skip
        record = {column: _recorded(value) for column, value in zip(COLUMNS, fields, strict=True)}
        record = {"at": record.pop("at"), **record}
        metadata: dict[str, JSON] = {"method": "POST", "endpoint": "/api/messages", "response_status": 200}
        yield seq, fields, canonical_body(record=record, metadata=metadata)


def _recorded(value: object) -> str | None:
    if isinstance(value, datetime):
        return timestamp(value)
    return None if value is None else str(value)


def fill_queue(*, owner: Owner, calls: int, now: datetime) -> None:
    """So many calls that wait, as the agent API would put them there."""
    agents = list(Agent.objects.for_owner(owner))
    for number in range(calls):
        agent = agents[number % len(agents)]
        caller = Caller(
            agent_id=agent.pk,
            agent_name=agent.name,
            owner_id=owner.pk,
            status=AgentStatus.ACTIVE,
            session_id="",
            parent_id="",
        )
        action = Action(
            platform="acme-chat",
            scope="chat:write",
            method="POST",
            endpoint="/api/messages",
            body=f'{{"channel":"#releases","text":"Version {number} goes out at 15:00 UTC."}}',
            connection_id=None,
            reason="Announce the release",
        )
        submit_action(caller=caller, action=action, requester_address="192.0.2.1", request_id=uuid4(), now=now)


def samples(owner: Owner) -> tuple[UUID, UUID, tuple[datetime, int]]:
    """A request id and an approval id of the log, and the place of the row in its middle."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_id, approval_id, at, seq FROM audit_auditevent"
            " WHERE owner_id = %s AND approval_id IS NOT NULL AND seq >="
            " (SELECT seq / 2 FROM audit_chainhead WHERE owner_id = %s) ORDER BY seq LIMIT 1",
            [owner.pk, owner.pk],
        )
        request_id, approval_id, at, seq = cursor.fetchone()
    return request_id, approval_id, (at, seq)
