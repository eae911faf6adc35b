"""How the traffic to a platform stands, read from Valkey without changing it; who changes it is `platforms.traffic`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal
from uuid import UUID

import redis
from django.conf import settings

_NO_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """How a circuit stands, for people. `until` is set while it is open."""

    state: Literal["closed", "open", "half-open", "unknown"]
    failures: int = 0
    until: datetime | None = None


def circuit_of(*, owner_id: UUID, platform: str, now: datetime) -> Circuit:
    """How the circuit stands; "unknown" while Valkey is away."""
    return circuits_of(owner_id=owner_id, platforms=[platform], now=now)[0]


def circuits_of(*, owner_id: UUID, platforms: Sequence[str], now: datetime) -> list[Circuit]:
    """The same for many platforms of one owner, in one question."""
    question = valkey(settings.REDIS_URL).pipeline(transaction=False)
    for platform in platforms:
        question.hgetall(keys_of(owner_id, platform)[1])
    try:
        return [_read_circuit(kept, now) for kept in question.execute()]
    except redis.RedisError:
        return [Circuit(state="unknown")] * len(platforms)


def free_places(calls: Sequence[tuple[UUID, str]], *, now: datetime) -> list[int]:
    """For each owner's platform how many calls may begin now, as `turn` sees it: a hint, for nothing is taken.

    None while the circuit is open, one for the probe. While Valkey is away there is no limit.
    """
    at, longest, pause = now.timestamp() * 1000, longest_lease() * 1000, settings.CIRCUIT_SECONDS * 1000
    question = valkey(settings.REDIS_URL).pipeline(transaction=False)
    for owner_id, platform in calls:
        under_way, circuit = keys_of(owner_id, platform)
        question.zcount(under_way, at, at + longest)
        question.hgetall(circuit)
    try:
        answers = question.execute()
    except redis.RedisError:
        return [_NO_LIMIT] * len(calls)
    free = []
    for taken, kept in zip(answers[::2], answers[1::2], strict=True):
        limit = settings.PLATFORM_CONCURRENCY if settings.PLATFORM_CONCURRENCY > 0 else _NO_LIMIT
        if b"open_until" in kept:
            closed_until, probe_until = float(kept[b"open_until"]), float(kept.get(b"probe_until", b"0"))
            is_open = at < closed_until <= at + pause or at < probe_until <= at + longest
            limit = 0 if is_open else min(1, limit)
        free.append(max(0, limit - taken))
    return free


def _read_circuit(kept: dict[bytes, bytes], now: datetime) -> Circuit:
    failures = int(kept.get(b"failures", b"0"))
    if b"open_until" not in kept:
        return Circuit(state="closed", failures=failures)
    until = datetime.fromtimestamp(float(kept[b"open_until"]) / 1000, tz=now.tzinfo)
    if now < until:
        return Circuit(state="open", failures=failures, until=until)
    return Circuit(state="half-open", failures=failures)


def longest_lease() -> float:
    """Seconds of the longest lease of a place."""
    return float(max(settings.DIRECT_TIMEOUT, settings.APPROVED_TIMEOUT) + settings.LEASE_MARGIN)


def keys_of(owner_id: UUID, platform: str) -> tuple[str, str]:
    """Of the calls under way, by the end of their lease, and of the circuit."""
    return f"traffic:{owner_id}:{platform}:calls", f"traffic:{owner_id}:{platform}:circuit"


@lru_cache(maxsize=4)
def valkey(url: str) -> redis.Redis:
    """What counts for all processes. It may be away: whoever asks goes on without it."""
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
