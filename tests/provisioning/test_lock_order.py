"""The head of the audit chain is the last lock that a transaction takes: what it does after that, nobody can wait for.

`audit.records.record` asks for this. A transaction that locks anything else afterwards deadlocks with one that holds
that and is about to record.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents import enrolment
from agents.authentication import Caller
from agents.enrolment import bind, invite
from agents.models import Agent, AgentKey, AgentStatus, InviteKind
from agentvalet.provisioning import provision
from audit.models import AuditEvent
from audit.verify import verify_owner
from notifications import uninstalls
from notifications.models import UninstallRequest
from platforms import access, admissions, registrations
from platforms.asks import AccessRequest, Registration
from platforms.grants import Choice
from tests.agents.people import by
from tests.approvals.test_races import together, wait_until_somebody_waits
from tests.world import PASSWORD, CountingPlatform, Side, make_side, public_key

ROUNDS = 20
FILE = """\
owner: Acme
members:
  - {email: approver@acme.example, role: admin}
  - {email: new@acme.example, role: auditor, password_env: P}
platforms:
  - id: acme-chat
    name: Renamed
    base_url: https://chat.example.com
    auth: {type: bearer}
    scopes: {"chat:read": ["GET /api/**"], "chat:write": ["POST /**"], "chat:new": ["PUT /**"]}
connections:
  - {platform: acme-chat, label: Main, credential_env: T, hint: other}
  - {platform: acme-chat, label: More, default: true, credential_env: T}
agents:
  - name: invited
    invite: true
    grants: [{platform: acme-chat, scope: "chat:new"}]
  - name: Acme bot
    public_key_file: bot.pem
    grants: [{platform: acme-chat, scope: "chat:read", require_approval: true}]
"""
_RECORDS = re.compile(r"INSERT INTO audit_")
# Rows that are there already. An inserted row is nobody else's yet.
_LOCKS = re.compile(r"^(?:UPDATE|DELETE)\b|\bFOR (?:NO KEY )?UPDATE\b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.pem").write_text(public_key("rotated"))
    return tmp_path


def run_file(folder: Path, text: str = FILE) -> dict[str, Any]:
    return provision(text, base=folder, env={"P": "correct horse battery", "T": "tok-other"})


@contextmanager
def head_last(*own: str) -> Iterator[None]:
    """Fails where a transaction locks a row after it has recorded. In the tables `own` it locks what is its own."""
    with CaptureQueriesContext(connection) as queries:
        yield
    depth, recorded, late = 0, False, []
    for sql in (query["sql"] for query in queries.captured_queries):
        depth += sql.startswith("SAVEPOINT")  # a test is a transaction already: this is where ours begin
        depth -= sql.startswith("RELEASE SAVEPOINT")
        if _RECORDS.search(sql):
            recorded = True
        elif not depth:
            recorded = False
        elif recorded and _LOCKS.search(sql) and not any(f'"{table}"' in sql for table in own):
            late.append(sql)
    assert any(_RECORDS.search(query["sql"]) for query in queries.captured_queries)
    assert not late


def test_provisioning(acme: Side, folder: Path) -> None:
    Agent.objects.create(owner=acme.owner, name="invited", status=AgentStatus.ACTIVE)
    with head_last():
        run_file(folder)
    assert AuditEvent.objects.count() >= 10


def test_provisioning_records_in_the_order_of_the_file(db: None, folder: Path) -> None:
    run_file(
        folder,
        FILE.replace(
            "{email: approver@acme.example, role: admin}", "{email: a@acme.example, role: admin, password_env: P}"
        ),
    )
    assert list(AuditEvent.objects.order_by("seq").values_list("event", flat=True)) == [
        "owner.created",
        "member.added",
        "member.added",
        "platform.changed",
        "platform.connected",
        "platform.connected",
        "agent.created",
        "agent.invited",
        "permission.granted",
        "agent.created",
        "agent.key_bound",
        "permission.granted",
    ]


def test_signing_in_and_out(acme: Side) -> None:
    client = Client()
    sign_in = {"email": "admin@acme.example", "password": PASSWORD}
    client.post("/sign-in", sign_in)
    with head_last():
        client.post("/sign-in", sign_in)  # ends the earlier session
    with head_last():
        client.post("/sign-out")


def caller(side: Side) -> Caller:
    return Caller(
        agent_id=side.agent.pk, agent_name=side.agent.name, owner_id=side.owner.pk, status="active", session_id=""
    )


def test_asking_to_be_uninstalled_after_an_earlier_wish_ran_out(acme: Side) -> None:
    def ask() -> None:
        uninstalls.ask(caller=caller(acme), reason="", request_id=uuid4(), now=timezone.now())

    with head_last():
        ask()
    UninstallRequest.objects.update(expires_at=timezone.now())
    with head_last():
        ask()
    events = ["agent.uninstall_requested", "agent.uninstall_expired", "agent.uninstall_requested"]
    assert list(AuditEvent.objects.order_by("seq").values_list("event", flat=True)) == events
    with head_last():
        uninstalls.approve(uninstall_id=UninstallRequest.objects.latest("created_at").pk, **by(acme.admin))


def test_answering_a_wish_for_access(acme: Side) -> None:
    ask = {"platform": "acme-chat", "scope": "chat:write", "reason": "", "request_id": uuid4(), "now": timezone.now()}
    with head_last():
        access.ask(caller=caller(acme), **ask)  # type: ignore[arg-type]
    wish = AccessRequest.objects.get()
    with head_last():
        access.approve(
            member=acme.admin, request=wish.pk, require_approval=False, request_id=uuid4(), now=timezone.now()
        )


def test_letting_in_a_program_that_registered_itself(acme: Side) -> None:
    applicant = registrations.Applicant(
        owner_id=acme.owner.pk, name="newcomer", description="", requested=[], address=None
    )
    with head_last():
        registrations.register(applicant=applicant, request_id=uuid4(), now=timezone.now())
    with head_last("platforms_registration", "platforms_grant"):  # locked before; of the agent that it makes
        admissions.approve(
            member=acme.admin,
            registration=Registration.objects.get().pk,
            grants=[Choice(platform="acme-chat", scope="chat:read"), Choice(platform="acme-chat", scope="chat:write")],
            request_id=uuid4(),
            now=timezone.now(),
        )


class TestRaces:
    """On real PostgreSQL, in threads with connections of their own."""

    pytestmark = pytest.mark.django_db(transaction=True)

    @pytest.fixture
    def acme(self, transactional_db: None, platform: CountingPlatform) -> Side:
        return make_side("Acme", base_url=platform.url, token=platform.token)

    def binding(self, side: Side, secret: str) -> Callable[[], Agent]:
        pem = public_key("invited")
        return lambda: bind(kind=InviteKind.BIND, secret=secret, pem=pem, request_id=uuid4(), now=timezone.now())

    def test_provisioning_and_binding_never_wait_for_each_other_in_a_circle(
        self, acme: Side, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The binding holds the agent and its invite while the file is applied, and records after that."""
        agent = Agent.objects.create(owner=acme.owner, name="invited", status=AgentStatus.ACTIVE)
        for turn in range(ROUNDS):
            AgentKey.objects.filter(agent=agent).delete()
            with transaction.atomic():
                secret = invite(agent=agent, now=timezone.now())
            held, real = threading.Event(), enrolment.bind_key

            def bind_key(real: Any = real, held: Any = held, **arguments: Any) -> AgentKey:
                held.set()
                wait_until_somebody_waits()
                key: AgentKey = real(**arguments)
                return key

            def apply(held: Any = held, turn: int = turn) -> dict[str, Any]:
                held.wait(10)
                return run_file(folder, FILE.replace("Renamed", f"Renamed {turn}"))

            with monkeypatch.context() as patch:
                patch.setattr(enrolment, "bind_key", bind_key)
                outcomes = list(together(self.binding(acme, secret), apply))
            assert [type(one) for one in outcomes] == [Agent, dict]
            assert AgentKey.objects.filter(agent=agent, retired_at=None).count() == 1
        assert verify_owner(owner_id=acme.owner.pk).verifies

    def test_provisioning_and_binding_at_the_same_moment(self, acme: Side, folder: Path) -> None:
        agent = Agent.objects.create(owner=acme.owner, name="invited", status=AgentStatus.ACTIVE)
        for turn in range(ROUNDS):
            AgentKey.objects.filter(agent=agent).delete()
            with transaction.atomic():
                secret = invite(agent=agent, now=timezone.now())
            text = FILE.replace("Renamed", f"Name {turn}")
            bound, applied = together(self.binding(acme, secret), partial(run_file, folder, text))
            # Who comes second finds no invite, or makes none.
            assert type(bound) in {Agent, enrolment.InviteGone}
            assert isinstance(applied, dict)
            assert ("bind_secret" in applied["agents"][0]) is isinstance(bound, enrolment.InviteGone)
        assert verify_owner(owner_id=acme.owner.pk).verifies
