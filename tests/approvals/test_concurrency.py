"""AGENTVALET_AGENT_CONCURRENCY, and the half of the web threads that direct calls never get."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.authentication import Caller
from agents.errors import ApiError
from agents.models import AgentStatus
from agents.throttling import first_in_a_minute
from approvals import concurrency, direct
from approvals.concurrency import under_way
from tests.approvals.test_actions_api import READ, WRITE, events, post
from tests.approvals.test_observe import CALL, observe
from tests.approvals.test_races import together
from tests.world import CountingPlatform, Side


def caller(side: Side) -> Caller:
    return Caller(
        agent_id=side.agent.pk,
        agent_name=side.agent.name,
        owner_id=side.owner.pk,
        status=AgentStatus.ACTIVE,
        session_id="",
    )


class Busy:
    """Calls that are under way for as long as a test wants."""

    def __init__(self) -> None:
        self.stack = ExitStack()

    def calls(self, who: Caller, count: int) -> None:
        for _ in range(count):
            self.stack.enter_context(under_way(who, request_id=uuid4(), now=timezone.now()))


@pytest.fixture
def busy(settings: Settings) -> Iterator[Busy]:
    settings.AGENT_CONCURRENCY, settings.WEB_THREADS = 4, 32
    busy = Busy()
    with busy.stack:
        yield busy
    assert not concurrency._under_way
    assert not concurrency._of_owner


def test_a_call_too_many_is_a_429_at_once_and_nothing_is_sent(
    client: Client, acme: Side, busy: Busy, platform: CountingPlatform
) -> None:
    busy.calls(caller(acme), 3)
    assert post(client, acme, READ).status_code == 200
    busy.calls(caller(acme), 1)
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_in_flight")
    assert response["Retry-After"] == "1"
    assert response.json()["correlation_id"] == response["X-Request-Id"]
    assert len(platform.requests) == 1


def test_it_is_on_record_once_a_minute_without_an_intent(client: Client, acme: Side, busy: Busy) -> None:
    busy.calls(caller(acme), 4)
    for _ in range(5):
        assert post(client, acme, READ).status_code == 429
    assert events(acme) == [("action.denied", "too_many_in_flight")]


def test_an_observed_call_counts_alike(client: Client, acme: Side, busy: Busy, platform: CountingPlatform) -> None:
    busy.calls(caller(acme), 4)
    response = observe(client, acme, CALL, platform.token)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_in_flight")
    assert platform.requests == []


def test_a_call_that_waits_for_a_person_holds_no_thread_and_is_not_counted(
    client: Client, acme: Side, busy: Busy
) -> None:
    busy.calls(caller(acme), 4)
    assert post(client, acme, WRITE).status_code == 202


def test_a_child_uses_up_what_its_parent_has(acme: Side, busy: Busy) -> None:
    parent = caller(acme)
    child = replace(parent, agent_id="agt_child", parent_id=parent.agent_id)
    busy.calls(parent, 2)
    busy.calls(child, 2)
    for who in (parent, child):
        with pytest.raises(ApiError, match="4 calls of this agent"):
            busy.calls(who, 1)


def test_another_agent_is_not_slowed_down(client: Client, acme: Side, stranger: Side, busy: Busy) -> None:
    busy.calls(caller(acme), 4)
    assert post(client, stranger, READ).status_code == 200


def test_half_of_the_threads_stay_free_whoever_calls(
    client: Client, acme: Side, stranger: Side, busy: Busy, settings: Settings
) -> None:
    settings.WEB_THREADS = 12
    busy.calls(caller(acme), 4)
    busy.calls(caller(stranger), 2)
    response = post(client, stranger, READ)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_in_flight")
    assert "This server" in response.json()["error"]
    settings.WEB_THREADS = 14
    assert post(client, stranger, READ).status_code == 200


def test_the_agents_of_one_owner_never_fill_all_places(
    client: Client, acme: Side, stranger: Side, busy: Busy, settings: Settings
) -> None:
    settings.WEB_THREADS = 16
    busy.calls(caller(acme), 4)
    busy.calls(replace(caller(acme), agent_id="agt_other"), 2)
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (429, "too_many_in_flight")
    with pytest.raises(ApiError, match="agents of this account"):
        busy.calls(replace(caller(acme), agent_id="agt_third"), 1)
    assert post(client, stranger, READ).status_code == 200


def test_a_call_too_many_is_a_429_without_valkey_too(
    client: Client, acme: Side, busy: Busy, settings: Settings
) -> None:
    busy.calls(caller(acme), 4)
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": settings.REDIS_URL}}
    for _ in range(2):
        assert post(client, acme, READ).json()["code"] == "too_many_in_flight"
    assert events(acme) == [("action.denied", "too_many_in_flight")] * 2  # each is the first that can be counted


@pytest.mark.parametrize("endpoint", ["/cut", "/slow/9", "/status/500"])
def test_a_call_that_fails_gives_its_place_back(
    client: Client, acme: Side, busy: Busy, settings: Settings, endpoint: str
) -> None:
    settings.AGENT_CONCURRENCY, settings.DIRECT_TIMEOUT = 1, 0.2
    for _ in range(2):
        assert post(client, acme, READ | {"endpoint": endpoint}).json().get("code") != "too_many_in_flight"


def test_an_error_of_ours_gives_the_place_back(
    client: Client, acme: Side, busy: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    client.raise_request_exception = False
    monkeypatch.setattr(direct, "send", broken)
    assert post(client, acme, READ).status_code == 500
    assert not concurrency._under_way


@pytest.mark.django_db(transaction=True)
def test_threads_that_come_together_get_no_more_than_there_is(busy: Busy) -> None:
    who = Caller(agent_id="agt_x", agent_name="x", owner_id=uuid4(), status=AgentStatus.ACTIVE, session_id="")
    first_in_a_minute(key=f"turned-away:{who.agent_id}:too_many_in_flight", now=timezone.now())  # it is on record
    outcomes = list(together(*[lambda: busy.calls(who, 1)] * 12))
    assert sum(outcome is None for outcome in outcomes) == 4
    assert all(isinstance(outcome, ApiError) for outcome in outcomes if outcome is not None)
