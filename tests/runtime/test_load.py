"""Under load: a platform that hangs must not hang people, polls, the sweep, or anybody's next call."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from agentvalet import embedded
from tests.runtime.installation import ROOT, bare_environment, eventually
from tests.runtime.valet import Valet
from tests.world import CountingPlatform, private_key, public_key

pytestmark = pytest.mark.services

AGENTS = 5
PLACES = 12  # for direct calls of one owner: three quarters of half of 32 threads
CLIENTS = 40  # more than there are threads
HANGS = 11  # seconds that a slow call of the platform takes; direct calls are cut off after 12
FILE = """\
owner: Acme
members: [{email: owner@example.com, role: admin, password_env: OWNER_PASSWORD}]
platforms:
  - id: acme-chat
    name: Acme Chat
    base_url: %s
    auth: {type: bearer}
    scopes: {"chat:read": ["GET /**"], "chat:write": ["POST /**"]}
connections: [{platform: acme-chat, label: Main, default: true, credential_env: ACME_TOKEN}]
agents:
"""
AGENT = """\
  - name: bot-%s
    public_key_file: bot.pub.pem
    grants: [{platform: acme-chat, scope: "chat:read"}, {platform: acme-chat, scope: "chat:write", require_approval: true}]
"""
# A person's click, without a browser: the same function, the same rules.
APPROVE = """
import sys, django
django.setup()
from django.utils import timezone
from agents.models import Member
from approvals.models import ApprovalRequest
from approvals.services import approve
for row in ApprovalRequest.objects.filter(pk__in=sys.argv[1:]).order_by("created_at"):
    approve(member=Member.objects.get(), approval_id=row.pk, digest=row.digest, via="test", now=timezone.now())
"""


class Loaded(Valet):
    """An installation with agents that can be many clients at once."""

    agents: list[str]
    owner_id: str

    def introduce(self, platform: CountingPlatform) -> None:
        (self.top / "bot.pub.pem").write_text(public_key("load"))
        text = FILE % platform.url + "".join(AGENT % number for number in range(AGENTS))
        made = self.provision(text, secrets={"OWNER_PASSWORD": "correct horse battery", "ACME_TOKEN": platform.token})
        self.agents = [agent["agent_id"] for agent in made["agents"]]
        self.owner_id = made["owner_id"]

    def ask(self, path: str, body: Any = None, *, agent: int = 0) -> tuple[int, Any, float]:
        """Status, body and seconds of a request of the agent."""
        now = int(time.time())
        claims = {"agent_id": self.agents[agent], "owner_id": self.owner_id, "iat": now, "exp": now + 60}
        token = jwt.encode(claims, private_key("load"), algorithm="RS256")
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        took = time.monotonic() - began
        return status, json.loads(text), took

    def call(self, scope: str, method: str, endpoint: str, *, agent: int = 0, **data: Any) -> tuple[int, Any, float]:
        body = {"platform": "acme-chat", "scope": scope, "method": method, "endpoint": endpoint}
        return self.ask("/v1/actions", body | ({"data": data} if data else {}), agent=agent)

    def queue(self, endpoint: str, *, agent: int = 0, **data: Any) -> str:
        status, answer, _ = self.call("chat:write", "POST", endpoint, agent=agent, **data)
        assert status == 202
        return str(answer["approval_id"])

    def approve(self, *approval_ids: str) -> None:
        subprocess.run(
            [sys.executable, "-c", APPROVE, *approval_ids],
            env=bare_environment(self.env) | {"DJANGO_SETTINGS_MODULE": "agentvalet.settings"},
            cwd=ROOT,
            check=True,
        )


@pytest.fixture(scope="module")
def valet(running_platform: CountingPlatform) -> Iterator[Loaded]:
    valet = Loaded()
    valet.env |= {
        "AGENTVALET_PRIVATE_TARGETS": running_platform.url.removeprefix("http://"),
        "AGENTVALET_APPROVAL_LIFETIME": "300",
        "AGENTVALET_WORKER_THREADS": "4",
    }
    try:
        valet.start()
        valet.introduce(running_platform)
        yield valet
    finally:
        valet.kill_worker()  # which would wait for what hangs
        valet.remove()


def test_calls_to_a_platform_that_hangs_do_not_hold_up_polls_and_pages(
    valet: Loaded, running_platform: CountingPlatform
) -> None:
    approval_id = valet.queue("/api/messages", n=0)
    running_platform.log.write_text("")
    answers: list[tuple[int, Any, float]] = []

    def call(number: int) -> None:
        answers.append(valet.call("chat:read", "GET", f"/slow/{HANGS}", agent=number % AGENTS))

    clients = [threading.Thread(target=call, args=[number]) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    assert eventually(lambda: len(running_platform.requests) == PLACES and len(answers) == CLIENTS - PLACES)
    polls = [valet.ask(f"/v1/approvals/{approval_id}") for _ in range(20)]
    assert valet.health() == 200
    assert len(answers) == CLIENTS - PLACES  # all the while, those threads were waiting
    assert {status for status, _, _ in polls} == {200}
    assert max(took for _, _, took in polls) < 2  # it is some 20 ms; a machine may have other things to do
    for client in clients:
        client.join()
    refused = [answer for status, answer, _ in answers if status == 429]
    assert sorted(status for status, _, _ in answers) == [200] * PLACES + [429] * (CLIENTS - PLACES)
    assert {answer["code"] for answer in refused} == {"too_many_in_flight"}


def test_a_restarted_database_costs_no_poll(valet: Loaded) -> None:
    approval_id = valet.queue("/api/messages", n=1)
    path = f"/v1/approvals/{approval_id}"
    clients = [threading.Thread(target=valet.ask, args=[path]) for _ in range(8)]
    for client in clients:  # so that the pool has several connections to lose
        client.start()
    for client in clients:
        client.join()
    with embedded.Postgres(data_dir=valet.data).connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agentvalet' AND pid <> pg_backend_pid()"
        )
    assert [valet.ask(path)[0] for _ in range(12)] == [200] * 12


def test_approved_calls_that_hang_do_not_hold_up_the_sweep(valet: Loaded) -> None:
    hanging = [valet.queue(f"/slow/{HANGS}", n=number) for number in range(6)]
    forgotten = valet.queue("/api/messages", n=7)
    valet.approve(*hanging)  # of which the worker makes three at a time: its fourth thread is for other owners
    begun = "SELECT count(*) FROM approvals_approvalrequest WHERE execution_started_at IS NOT NULL"
    assert eventually(lambda: valet.rows(begun) == [(3,)])
    with embedded.Postgres(data_dir=valet.data).connect(database="agentvalet") as connection:
        connection.execute("UPDATE approvals_approvalrequest SET expires_at = now() WHERE id = %s", [forgotten])
    began = time.monotonic()
    assert eventually(lambda: valet.rows("SELECT 1 FROM approvals_approvalrequest WHERE decision = 'expired'"))
    assert time.monotonic() - began < HANGS  # while all threads of the worker were waiting
    assert valet.rows(begun) == [(3,)]
