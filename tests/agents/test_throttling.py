"""Limits: so many at once, then one as each share of time goes by, counted for all threads together."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from pytest_django.fixtures import Settings

from agents.errors import ApiError
from agents.throttling import check_rate, network_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def passes(limit: int, at: float = 0, key: str = "k", per_seconds: int = 60) -> bool:
    try:
        check_rate(key=key, limit=limit, per_seconds=per_seconds, now=NOON + timedelta(seconds=at))
    except ApiError as error:
        return error.status_code != 429
    return True


@pytest.mark.parametrize("limit", [1, 2, 9, 13, 60, 70, 600])
def test_the_whole_limit_may_come_at_once_and_no_more(limit: int) -> None:
    assert [passes(limit) for _ in range(limit + 2)] == [True] * limit + [False, False]


def test_then_one_for_each_share_of_the_time() -> None:
    assert [passes(6) for _ in range(7)][-1] is False
    assert [passes(6, at=at) for at in (9.9, 10, 19.9, 20, 30)] == [False, True, False, True, True]


def test_after_the_time_the_whole_limit_is_there_again_and_never_more() -> None:
    for start in (0, 60, 3600):
        assert [passes(4, at=start) for _ in range(5)] == [True] * 4 + [False]


def test_who_waits_as_told_gets_through() -> None:
    for _ in range(3):
        passes(3)
    with pytest.raises(ApiError) as refused:
        check_rate(key="k", limit=3, per_seconds=60, now=NOON)
    assert refused.value.headers == {"Retry-After": "20"}
    assert passes(3, at=20)


def test_a_refusal_costs_nothing() -> None:
    for _ in range(50):
        passes(2)
    assert passes(2, at=30)


def test_keys_do_not_know_of_each_other() -> None:
    assert passes(1, key="a")
    assert passes(1, key="b")
    assert not passes(1, key="a")


def test_no_limit_is_no_limit() -> None:
    assert all(passes(0) for _ in range(1000))


def test_many_at_once_are_all_counted() -> None:
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(passes(10))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 20 + [True] * 10


def test_without_valkey_everything_passes(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    assert passes(1)
    assert passes(1)
    assert "not limited" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        (None, None, True),
    ],
)
def test_an_ipv6_subscriber_is_one(one: str | None, other: str | None, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same
