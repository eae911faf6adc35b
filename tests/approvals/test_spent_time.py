"""A call for which no time is left is not sent."""

from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from approvals import sending
from platforms.client import send
from platforms.coverage import Coverage
from tests.approvals.test_decisions import approve
from tests.approvals.test_runs import events, run
from tests.world import CountingPlatform, Side, submit


@pytest.mark.django_db
def test_a_key_service_that_takes_all_of_the_time_sends_nothing(
    acme: Side, platform: CountingPlatform, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(sending, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    opened = Coverage.credential

    def slow(coverage: Coverage, **asked: Any) -> str:
        clock[0] += settings.APPROVED_TIMEOUT + 1
        return opened(coverage, **asked)

    monkeypatch.setattr(Coverage, "credential", slow)
    done = run(approve(acme, submit(acme)))
    assert done.execution_error is not None
    assert done.execution_error.endswith("Nothing was sent.")
    assert events(done)[-1] == "approval.failed"
    assert platform.requests == []


@pytest.mark.parametrize("timeout", [0, -1.5])
def test_the_client_has_no_time_that_is_none(timeout: float) -> None:
    with pytest.raises(ValueError, match="no time left"):
        send(method="GET", url="http://127.0.0.1:9/", headers=[], body=None, timeout=timeout, max_response_bytes=1)
