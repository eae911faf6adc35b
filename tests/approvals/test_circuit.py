"""What is under way to one platform, and the circuit that stops calling one that is broken: direct and approved calls."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta

import pytest
from django.conf import settings as real_settings
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from redis import Redis

from approvals.execution import execute
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.circuits import circuit_of
from platforms.traffic import PlatformBlocked, Turn, Verdict, turn
from tests.approvals.test_actions_api import READ, events, post
from tests.approvals.test_decisions import approve
from tests.approvals.test_observe import CALL, observe
from tests.approvals.test_races import together
from tests.runtime.installation import ROOT
from tests.world import CountingPlatform, Side, change_platform, make_side, submit

BROKEN = READ | {"endpoint": "/status/503"}


@pytest.fixture(autouse=True)
def few(settings: Settings) -> None:
    settings.CIRCUIT_FAILURES, settings.CIRCUIT_SECONDS = 3, 30
    settings.PLATFORM_CONCURRENCY, settings.PLATFORM_WAIT = 2, 600


def valkey() -> Redis:
    return Redis.from_url(real_settings.REDIS_URL)


def break_circuit(client: Client, side: Side) -> None:
    assert [post(client, side, BROKEN).status_code for _ in range(3)] == [503] * 3
    assert state(side) == "open"


def pause_is_over(side: Side) -> None:
    key = f"traffic:{side.owner.pk}:acme-chat:circuit"
    valkey().hset(key, "open_until", str(timezone.now().timestamp() * 1000 - 1))
    assert state(side) == "half-open"


def state(side: Side) -> str:
    return circuit_of(owner_id=side.owner.pk, platform="acme-chat", now=timezone.now()).state


def circuit_events(side: Side) -> list[str]:
    rows = AuditEvent.objects.filter(owner_id=side.owner.pk, event__startswith="platform.circuit").order_by("seq")
    return [row.event for row in rows]


def place(side: Side, now: datetime | None = None) -> AbstractContextManager[Turn]:
    return turn(owner_id=side.owner.pk, platform="acme-chat", timeout=12, now=now or timezone.now())


def run(approval: ApprovalRequest, now: datetime | None = None) -> ApprovalRequest:
    execute(approval_id=approval.pk, now=now or timezone.now())
    return ApprovalRequest.objects.get(pk=approval.pk)


def test_failures_in_a_row_open_the_circuit_and_nothing_more_is_sent(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    break_circuit(client, acme)
    response = post(client, acme, READ)
    assert (response.status_code, response.json()["code"]) == (503, "platform_circuit_open")
    assert response.json()["reason"] == "circuit_breaker_open"
    assert 28 <= int(response["Retry-After"]) <= 30
    assert "3 times in a row" in response.json()["error"]
    assert len(platform.requests) == 3
    assert circuit_events(acme) == ["platform.circuit_opened"]


def test_refusals_of_an_open_circuit_are_on_record_once_a_minute(client: Client, acme: Side) -> None:
    break_circuit(client, acme)
    for _ in range(4):
        post(client, acme, READ)
    assert events(acme).count(("action.denied", "platform_circuit_open")) == 1
    assert AuditEvent.objects.get(reason="platform_circuit_open").platform == "acme-chat"


def test_an_observed_call_counts_and_is_held_back_alike(client: Client, acme: Side, platform: CountingPlatform) -> None:
    for _ in range(3):
        observe(client, acme, CALL | {"endpoint": "/status/500"}, platform.token)
    assert observe(client, acme, CALL, platform.token).json()["code"] == "platform_circuit_open"
    assert len(platform.requests) == 3


FAILURES = ["/status/500", "/status/503", "/cut", "/slow/5"]


@pytest.mark.parametrize("endpoint", FAILURES)
def test_what_a_platform_does_wrong_counts(client: Client, acme: Side, settings: Settings, endpoint: str) -> None:
    settings.DIRECT_TIMEOUT = 0.2
    for _ in range(3):
        post(client, acme, READ | {"endpoint": endpoint})
    assert state(acme) == "open"


def test_a_platform_that_is_not_there_counts(client: Client, acme: Side, settings: Settings) -> None:
    settings.PRIVATE_TARGETS = ["127.0.0.1"]
    change_platform(acme.platform, base_url="http://127.0.0.1:9")
    for _ in range(3):
        assert post(client, acme, READ).json()["code"] == "connect_failed"
    assert state(acme) == "open"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429])
def test_what_an_agent_does_wrong_never_counts(client: Client, acme: Side, status: int) -> None:
    for _ in range(4):
        post(client, acme, READ | {"endpoint": f"/status/{status}"})
    assert state(acme) == "closed"
    assert post(client, acme, READ).status_code == 200


def test_what_we_refuse_ourselves_never_counts(client: Client, acme: Side, settings: Settings) -> None:
    settings.MAX_RESPONSE_BYTES = 3
    answers = [post(client, acme, READ).json()["code"] for _ in range(4)]
    settings.PRIVATE_TARGETS = []
    answers += [post(client, acme, READ).json()["code"] for _ in range(4)]
    assert answers == ["response_too_large"] * 4 + ["target_refused"] * 4
    assert state(acme) == "closed"


def test_a_bad_signature_never_counts(client: Client, acme: Side) -> None:
    for _ in range(4):
        headers = {"Authorization": "Bearer nonsense"}
        assert client.post("/v1/actions", READ, content_type="application/json", headers=headers).status_code == 401
    assert state(acme) == "closed"


def test_an_answer_in_between_begins_the_count_anew(client: Client, acme: Side) -> None:
    for _ in range(4):
        post(client, acme, BROKEN)
        post(client, acme, BROKEN)
        post(client, acme, READ)
    assert state(acme) == "closed"


def test_a_stranger_and_another_platform_open_only_their_own(client: Client, acme: Side, stranger: Side) -> None:
    break_circuit(client, stranger)
    assert post(client, acme, READ).status_code == 200
    with turn(owner_id=stranger.owner.pk, platform="other", timeout=1, now=timezone.now()):
        pass
    assert circuit_events(acme) == []


def test_the_probe_closes_the_circuit(client: Client, acme: Side, platform: CountingPlatform) -> None:
    break_circuit(client, acme)
    pause_is_over(acme)
    assert [post(client, acme, READ).status_code for _ in range(3)] == [200] * 3
    assert state(acme) == "closed"
    assert circuit_events(acme) == ["platform.circuit_opened", "platform.circuit_closed"]
    assert len(platform.requests) == 6


def test_a_probe_that_fails_opens_it_again_at_once(client: Client, acme: Side, platform: CountingPlatform) -> None:
    break_circuit(client, acme)
    pause_is_over(acme)
    assert post(client, acme, BROKEN).json()["_agentvalet"]["upstream"] is True
    assert post(client, acme, READ).json()["code"] == "platform_circuit_open"
    assert len(platform.requests) == 4
    assert circuit_events(acme) == ["platform.circuit_opened"]


def test_a_probe_that_says_nothing_lets_the_next_call_try(client: Client, acme: Side, settings: Settings) -> None:
    break_circuit(client, acme)
    pause_is_over(acme)
    listed, settings.PRIVATE_TARGETS = settings.PRIVATE_TARGETS, []
    assert post(client, acme, READ).json()["code"] == "target_refused"
    settings.PRIVATE_TARGETS = listed
    assert state(acme) == "half-open"
    assert post(client, acme, READ).status_code == 200


def test_a_call_of_before_says_nothing_about_an_open_circuit(client: Client, acme: Side) -> None:
    with place(acme) as early:
        break_circuit(client, acme)
        early.verdict = Verdict.WORKED
    assert state(acme) == "open"


def test_there_is_one_probe_and_its_process_may_die(client: Client, acme: Side) -> None:
    break_circuit(client, acme)
    pause_is_over(acme)
    now = timezone.now()
    with place(acme, now):
        with pytest.raises(PlatformBlocked, match="not called") as blocked, place(acme, now):
            pass
        assert blocked.value.retry_after == 1
        with pytest.raises(PlatformBlocked), place(acme, now + timedelta(seconds=26.9)):
            pass
        with place(acme, now + timedelta(seconds=27.1)) as second:
            second.verdict = Verdict.WORKED
    assert state(acme) == "closed"


def test_an_approved_call_waits_unbegun_while_the_circuit_is_open_and_runs_once_after(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    approval = approve(acme, submit(acme))
    break_circuit(client, acme)
    for _ in range(3):
        waiting = run(approval)
        assert (waiting.execution_started_at, waiting.executed_at) == (None, None)
    assert len(platform.requests) == 3
    pause_is_over(acme)  # and the call is the probe
    assert [run(approval).result_status for _ in range(3)] == [200] * 3
    assert len(platform.requests) == 4
    assert state(acme) == "closed"


def test_an_approved_call_that_is_the_probe_and_is_lost_is_never_sent_again(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    approval = approve(acme, submit(acme, endpoint="/cut"))
    break_circuit(client, acme)
    pause_is_over(acme)
    assert (run(approval).execution_error or "").startswith("outcome unknown:")
    assert state(acme) == "open"
    pause_is_over(acme)
    run(approval)
    assert len(platform.requests) == 4


def test_approved_and_direct_calls_count_together(client: Client, acme: Side) -> None:
    run(approve(acme, submit(acme, endpoint="/status/500")))
    run(approve(acme, submit(acme, endpoint="/status/502")))
    post(client, acme, BROKEN)
    assert state(acme) == "open"


def test_a_call_that_lost_its_right_is_no_failure_and_gives_the_probe_back(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme))
    break_circuit(client, acme)
    pause_is_over(acme)
    grant = acme.grants["chat:write"]
    grant.revoked_at = timezone.now()
    grant.save()
    assert "Nothing was sent." in (run(approval).execution_error or "")
    assert state(acme) == "half-open"
    assert post(client, acme, READ).status_code == 200


def test_a_call_that_waited_too_long_ends_and_says_why(
    client: Client, acme: Side, platform: CountingPlatform, settings: Settings
) -> None:
    settings.CIRCUIT_SECONDS = 3600
    approval = approve(acme, submit(acme))
    break_circuit(client, acme)
    assert run(approval, timezone.now() + timedelta(seconds=590)).executed_at is None
    done = run(approval, timezone.now() + timedelta(seconds=601))
    assert (done.execution_error or "").endswith("The call waited 10 minutes for it. Nothing was sent.")
    assert AuditEvent.objects.get(event="approval.failed").reason == "platform_circuit_open"
    assert len(platform.requests) == 3


def test_a_call_that_another_worker_has_begun_is_not_ended_for_waiting(client: Client, acme: Side) -> None:
    approval = approve(acme, submit(acme))
    ApprovalRequest.objects.filter(pk=approval.pk).update(execution_started_at=timezone.now())
    break_circuit(client, acme)
    assert run(approval, timezone.now() + timedelta(hours=2)).executed_at is None


def test_as_many_calls_as_may_are_under_way_and_one_more_is_a_429(
    client: Client, acme: Side, stranger: Side, platform: CountingPlatform
) -> None:
    with ExitStack() as busy:
        for _ in range(2):
            busy.enter_context(place(acme))
        response = post(client, acme, READ)
        assert (response.status_code, response.json()["code"], response["Retry-After"]) == (429, "platform_busy", "1")
        assert events(acme) == [("action.denied", "platform_busy")]
        assert platform.requests == []
        assert post(client, stranger, READ).status_code == 200
    assert post(client, acme, READ).status_code == 200


def test_an_approved_call_waits_for_a_place_without_being_begun(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    with place(acme), place(acme):
        assert run(approval).execution_started_at is None
    assert platform.requests == []
    assert run(approval).result_status == 200


_HOLD = """
import sys, uuid, django
django.setup()
from django.utils import timezone
from platforms.traffic import turn
with turn(owner_id=uuid.UUID(sys.argv[1]), platform="acme-chat", timeout=12, now=timezone.now()):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_the_place_of_a_killed_process_counts_for_its_lease_and_no_longer(acme: Side, settings: Settings) -> None:
    settings.PLATFORM_CONCURRENCY = 1
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(acme.owner.pk)],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "agentvalet.settings", "REDIS_URL": real_settings.REDIS_URL},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        process.kill()
    with pytest.raises(PlatformBlocked), place(acme):
        pass
    with place(acme, timezone.now() + timedelta(seconds=27)):
        pass


def test_a_clock_that_was_put_back_holds_nothing_up(client: Client, acme: Side) -> None:
    with place(acme, timezone.now() + timedelta(hours=1)), place(acme, timezone.now() + timedelta(hours=1)):
        assert post(client, acme, READ).status_code == 200
    break_circuit(client, acme)
    with place(acme, timezone.now() - timedelta(hours=1)):
        pass


@pytest.mark.parametrize(("name", "off"), [("PLATFORM_CONCURRENCY", 0), ("CIRCUIT_FAILURES", 0)])
def test_each_of_the_two_can_be_switched_off(
    client: Client, acme: Side, settings: Settings, name: str, off: int
) -> None:
    setattr(settings, name, off)
    if name == "CIRCUIT_FAILURES":
        assert [post(client, acme, BROKEN).status_code for _ in range(8)] == [503] * 8
        assert state(acme) == "closed"
    with ExitStack() as busy:
        for _ in range(2 if name == "CIRCUIT_FAILURES" else 9):
            busy.enter_context(place(acme))


def test_calls_go_on_without_valkey(
    client: Client, acme: Side, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    assert [post(client, acme, BROKEN).status_code for _ in range(4)] == [503] * 4
    assert post(client, acme, READ).status_code == 200
    assert run(approve(acme, submit(acme))).result_status == 200
    assert state(acme) == "unknown"
    assert "calls go on without limit and circuit" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_of_many_calls_at_once_one_is_the_probe(platform: CountingPlatform, settings: Settings) -> None:
    settings.PLATFORM_CONCURRENCY = 8
    side = make_side("Acme", base_url=platform.url, token=platform.token)
    break_circuit(Client(), side)
    pause_is_over(side)
    with ExitStack() as under_way:
        outcomes = list(together(*[lambda: under_way.enter_context(place(side))] * 6))
        (probe,) = [outcome for outcome in outcomes if isinstance(outcome, Turn)]
        assert sum(isinstance(outcome, PlatformBlocked) for outcome in outcomes) == 5
        probe.verdict = Verdict.WORKED
    assert circuit_events(side) == ["platform.circuit_opened", "platform.circuit_closed"]
