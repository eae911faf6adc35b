"""Every URL of the agent API, for everybody who may come: who gets in, who is refused, and what is not theirs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.cli import confirm_login, exchange_code
from agents.models import Member
from approvals.execution import execute
from audit.models import AuditEvent
from notifications import uninstalls
from platforms import access, registrations
from tests.api.routes import api_routes
from tests.approvals.test_decisions import approve
from tests.pages import asks
from tests.world import CountingPlatform, Side, bearer, submit

TABLE = Path(__file__).with_name("every_url.txt")
CALLERS = ("agent", "other", "admin", "approver", "page", "nobody")
CHAT = {"platform": "acme-chat", "scopes": ["chat:read"]}


def table() -> dict[tuple[str, str], list[str]]:
    """Method and route, then what each caller gets."""
    rows = [line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return {(method, route): cells for method, route, *cells in rows}


@pytest.fixture(autouse=True)
def unlimited(settings: Settings) -> None:
    settings.ANONYMOUS_PER_MINUTE = settings.ACTIONS_PER_MINUTE = settings.REQUESTS_PER_MINUTE = 0


def headers_of(caller: str, acme: Side, stranger: Side) -> dict[str, str]:
    """`agent` is Acme's and `other` the stranger's; `admin` and `approver` are command lines of Acme's members."""
    if caller in {"agent", "other"}:
        return bearer(acme.agent if caller == "agent" else stranger.agent)
    if caller in {"page", "nobody"}:
        return {}
    member: Member = acme.members[caller]
    moment, state = asks.moment(), asks.moment()["request_id"]
    code = confirm_login(member=member, state=state, now=moment["now"])
    return {"Authorization": f"Bearer {exchange_code(state=state, code=code, **moment)[1]}"}


def test_each_caller_gets_what_the_table_says(acme: Side, stranger: Side, platform: CountingPlatform) -> None:
    """One scene for all: what a request does is taken back after it. Ids and tokens are Acme's, and good."""
    approval = approve(acme, submit(acme))
    execute(approval_id=approval.pk, now=timezone.now())
    approved = AuditEvent.objects.get(event="approval.approved", approval_id=approval.pk)
    wish = access.ask(caller=asks.caller(acme.agent), platform="acme-chat", scope="chat:x", reason="", **asks.moment())
    applicant = registrations.Applicant(
        owner_id=acme.owner.pk, name="new", description="", requested=[], address="192.0.2.1"
    )
    _, token = registrations.register(applicant=applicant, **asks.moment())
    values = {
        "/v1/approvals/{approval_id}": str(approval.pk),
        "/v1/audit/{audit_id}/receipt": str(approved.pk),
        "/v1/access-request/status/{token}": str(wish.pk),
        "/v1/revoke-request/stream/{token}": uninstalls.ask(caller=asks.caller(acme.agent), reason="", **asks.moment()),
    }
    bodies: dict[str, Any] = {
        "/v1/actions": {"platform": "acme-chat", "scope": "chat:read", "endpoint": "/api/x", "method": "GET"},
        "/v1/observe/actions": {"platform": "acme-chat", "endpoint": "/api/x", "method": "GET"},
        "/v1/authzen/access": {"subject": {"id": acme.agent.pk}, "resource": {"id": "acme-chat:chat:read"}},
        "/v1/access-request": {"platform": "acme-chat"},
        "/v1/agents/children": {"grants": [CHAT]},
        "/v1/agents/self/diagnostics": {"severity": "info", "message": "well"},
        "/functions/v1/cli-auth": {"action": "init", "state": str(wish.pk), "port": 4000},
        "/functions/v1/cli-register-agent": {"owner_id": str(acme.owner.pk), "name": "made"},
        "/functions/v1/revoke-agent": {"agentId": acme.agent.pk},
        "/v1/register": {"owner_id": str(acme.owner.pk), "name": "another"},
    }
    wrong = []
    for at, caller in enumerate(CALLERS):
        headers = headers_of(caller, acme, stranger) | {"X-AV-Observe-Credential": platform.token}
        for (method, route), cells in table().items():
            client = Client()
            if caller == "page":
                client.force_login(acme.admin.user)
            path = re.sub(r"\{\w+\}", values.get(route, token), route)
            before = transaction.savepoint()
            got = client.generic(method, path, json.dumps(bodies.get(route, {})), "application/json", headers=headers)
            if got.streaming:
                got.close()
            transaction.savepoint_rollback(before)
            if str(got.status_code) != cells[at]:
                wrong.append(f"{method} {route} for {caller}: {got.status_code}, not {cells[at]}")
    assert wrong == []


def test_every_route_is_in_the_table_and_nothing_else_is() -> None:
    assert set(table()) == {(method, route.template) for route in api_routes() for method in route.methods}


def test_what_is_somebody_elses_is_not_there_for_another_agent() -> None:
    """A token in the address is the right itself: whoever holds it gets in, with it and nothing else."""
    for (method, route), cells in table().items():
        if "_id}" in route or route.startswith("/v1/access-request/status"):
            assert (method, route, cells[CALLERS.index("other")]) == (method, route, "404")
