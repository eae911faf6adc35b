"""AGENTVALET_ACTIONS_PER_MINUTE: what counts, what does not, and what a client is told."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentStatus
from agents.tokens import mint_child_token
from tests.approvals.test_actions_api import READ, WRITE, events, post
from tests.approvals.test_observe import CALL, observe
from tests.world import CountingPlatform, Side, bearer, submit


@pytest.fixture(autouse=True)
def few(settings: Settings) -> Any:
    settings.ACTIONS_PER_MINUTE = 3
    cache.clear()
    yield
    cache.clear()


def test_one_call_more_than_the_limit_is_a_429_that_says_when(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    assert [post(client, acme, READ).status_code for _ in range(3)] == [200, 200, 200]
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert 1 <= int(response["Retry-After"]) <= 60
    assert response.json()["correlation_id"] == response["X-Request-Id"]
    assert len(platform.requests) == 3


def test_the_refusal_is_on_record_once_a_minute(client: Client, acme: Side) -> None:
    for _ in range(8):
        post(client, acme, READ)
    assert events(acme).count(("action.denied", "rate_limited")) == 1


def test_actions_and_observed_calls_count_together(client: Client, acme: Side, platform: CountingPlatform) -> None:
    statuses = [post(client, acme, READ).status_code, post(client, acme, WRITE).status_code]
    statuses += [observe(client, acme, CALL, platform.token).status_code for _ in range(2)]
    assert statuses == [200, 202, 200, 429]


def test_polling_an_approval_is_never_limited(client: Client, acme: Side) -> None:
    approval = submit(acme)
    for _ in range(5):
        post(client, acme, READ)
    url = f"/v1/approvals/{approval.pk}"
    assert {client.get(url, headers=bearer(acme.agent)).status_code for _ in range(20)} == {200}


def test_a_refused_identity_and_its_retry_cost_one_call(client: Client, acme: Side) -> None:
    """Every client answers a 401 by signing anew and sending the call again, once."""
    for _ in range(3):
        assert post(client, acme, READ, Authorization="Bearer stale.stale.stale").status_code == 401
        assert post(client, acme, READ).status_code == 200
    assert post(client, acme, READ).status_code == 429


def test_another_agent_is_not_slowed_down(client: Client, acme: Side, stranger: Side) -> None:
    for _ in range(5):
        post(client, acme, READ)
    assert post(client, stranger, READ).status_code == 200


def test_a_child_uses_up_what_its_parent_has(client: Client, acme: Side) -> None:
    now = timezone.now()
    child = Agent.objects.create(
        owner=acme.owner,
        name="Child",
        status=AgentStatus.ACTIVE,
        parent=acme.agent,
        expires_at=now + timedelta(hours=1),
    )
    token = {"Authorization": f"Bearer {mint_child_token(child=child, now=now)}"}
    assert post(client, acme, READ, **token).status_code == 403  # it has no grant; it counts all the same
    assert [post(client, acme, READ).status_code for _ in range(3)] == [200, 200, 429]
    assert post(client, acme, READ, **token).status_code == 429


def test_no_limit_is_no_limit(client: Client, acme: Side, settings: Settings) -> None:
    settings.ACTIONS_PER_MINUTE = 0
    assert {post(client, acme, READ).status_code for _ in range(10)} == {200}
