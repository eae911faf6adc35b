"""AGENTVALET_REQUESTS_PER_MINUTE: for each endpoint by itself, an agent and its children together."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from audit.models import AuditEvent
from tests.platforms.test_children import child_of
from tests.world import Side, bearer, submit

NOWHERE = UUID(int=7)  # in the names of tests, which are the same in every process
CHAT = [{"platform": "acme-chat", "scopes": ["chat:read"]}]
Request = tuple[str, Callable[[Side], Any]]
READS: list[Request] = [
    ("/v1/agent/permissions", lambda side: None),
    ("/v1/agents/me/pending-actions", lambda side: None),
    (f"/v1/access-request/status/{NOWHERE}", lambda side: None),
    ("/v1/authzen/access", lambda side: {"subject": {"id": side.agent.pk}, "resource": {"id": "acme-chat:chat:read"}}),
]
KEPT: list[Request] = [
    ("/v1/access-request", lambda side: {"platform": "acme-chat"}),
    ("/v1/agents/children", lambda side: {"grants": CHAT}),
    ("/v1/agents/self/diagnostics", lambda side: {"severity": "info", "message": "well"}),
    ("/v1/revoke-request", lambda side: {}),
]


@pytest.fixture(autouse=True)
def twenty(settings: Settings) -> None:
    settings.REQUESTS_PER_MINUTE = 20


def statuses(client: Client, headers: dict[str, str], path: str, body: Any, times: int) -> list[bool]:
    """Whether each request got past the limit."""
    found = []
    for _ in range(times):
        if body is None:
            answer = client.get(path, headers=headers)
        else:
            answer = client.post(path, body, content_type="application/json", headers=headers)
        found.append(answer.status_code != 429)
        assert found[-1] or (answer.json()["code"], int(answer["Retry-After"]) > 0) == ("rate_limited", True)
    return found


@pytest.mark.parametrize(("path", "body"), READS)
def test_reading_is_limited(client: Client, acme: Side, stranger: Side, path: str, body: Any) -> None:
    assert statuses(client, bearer(acme.agent), path, body(acme), 22) == [True] * 20 + [False] * 2
    assert statuses(client, bearer(stranger.agent), path, body(stranger), 1) == [True]
    rows = AuditEvent.objects.filter(owner_id=acme.owner.pk, reason="rate_limited")
    assert [row.agent_id for row in rows] == [acme.agent.pk]


@pytest.mark.parametrize(("path", "body"), KEPT)
def test_what_leaves_rows_behind_may_come_a_tenth_as_often(client: Client, acme: Side, path: str, body: Any) -> None:
    assert statuses(client, bearer(acme.agent), path, body(acme), 4) == [True, True, False, False]


def test_children_are_no_way_around_it(client: Client, acme: Side) -> None:
    report = {"severity": "info", "message": "well"}
    _, one = child_of(client, acme)
    _, other = child_of(client, acme)
    assert statuses(client, one, "/v1/agents/self/diagnostics", report, 2) == [True, True]
    assert statuses(client, other, "/v1/agents/self/diagnostics", report, 1) == [False]
    assert statuses(client, bearer(acme.agent), "/v1/agents/self/diagnostics", report, 1) == [False]


def test_one_endpoint_does_not_use_up_another(client: Client, acme: Side) -> None:
    for path, body in READS:
        assert all(statuses(client, bearer(acme.agent), path, body(acme), 20))


def test_nought_is_no_limit(client: Client, acme: Side, settings: Settings) -> None:
    settings.REQUESTS_PER_MINUTE = 0
    assert all(statuses(client, bearer(acme.agent), "/v1/agent/permissions", None, 30))


def test_polling_an_approval_is_never_limited(client: Client, acme: Side, settings: Settings) -> None:
    settings.REQUESTS_PER_MINUTE = settings.ACTIONS_PER_MINUTE = 1
    path = f"/v1/approvals/{submit(acme).pk}"
    assert all(statuses(client, bearer(acme.agent), path, None, 30))
