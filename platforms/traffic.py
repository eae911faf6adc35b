"""How much may be under way to a platform, and whether it is called at all: counted in Valkey, for all processes.

Each owner's platform is counted by itself. What strangers do with the same service, or an agent of theirs provokes
there, never closes a platform to anybody else.

The circuit is closed until AGENTVALET_CIRCUIT_FAILURES calls in a row have failed. Then it is open: for
AGENTVALET_CIRCUIT_SECONDS nothing is sent. After that it is half-open: one call, the probe, goes out, and what comes of
it closes the circuit or opens it again. Every place is a lease, so a process that dies leaves nothing behind.

While Valkey is away calls go on, without limit and circuit: both are against load, no right hangs on them.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, cast
from uuid import UUID, uuid4

import redis
from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db import transaction
from django.utils import timezone

from audit.events import Actor, Event, Result
from audit.records import record
from platforms.circuits import keys_of, longest_lease, valkey
from platforms.client import PlatformResponse, PlatformUnreachable

logger = logging.getLogger(__name__)

_FORGOTTEN_AFTER = timedelta(days=7)  # a circuit that nobody has called any more
_FAILURES_KEPT = timedelta(minutes=10)  # failures further apart are not "in a row"
_SYSTEM = Actor("system", "circuit", "AgentValet")
# What says nothing about the platform: our own refusal of its address, and an answer larger than we take.
_NOT_THE_PLATFORMS = frozenset({"target_refused", "response_too_large"})

# Both are one step for all processes. KEYS: the calls under way (by the end of their lease), the circuit. Times are in
# milliseconds. A circuit has `failures`, `open_until` once it is open, and `probe` with the end of its lease. A time
# further ahead than any is ever set comes from a clock that was put back, and counts as over.
_ENTER = """
local now, id, lease, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local pause, longest = tonumber(ARGV[5]), tonumber(ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + longest + 1, '+inf')
local open_until = tonumber(redis.call('HGET', KEYS[2], 'open_until') or '0')
if open_until > 0 then
  local probe_until = tonumber(redis.call('HGET', KEYS[2], 'probe_until') or '0')
  if now < open_until and open_until <= now + pause then return {'open', tostring(open_until - now)} end
  if now < probe_until and probe_until <= now + longest then return {'open', '1000'} end
end
if limit > 0 and redis.call('ZCARD', KEYS[1]) >= limit then return {'busy', '1000'} end
if open_until > 0 then redis.call('HSET', KEYS[2], 'probe', id, 'probe_until', now + lease) end
redis.call('ZADD', KEYS[1], now + lease, id)
if redis.call('PTTL', KEYS[1]) < lease then redis.call('PEXPIRE', KEYS[1], lease) end
return {'go', '0'}
"""
_LEAVE = """
local now, id, verdict = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local threshold, pause, kept, forgotten = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
redis.call('ZREM', KEYS[1], id)
if redis.call('HEXISTS', KEYS[2], 'open_until') == 1 then
  if redis.call('HGET', KEYS[2], 'probe') ~= id then return '' end
  redis.call('HDEL', KEYS[2], 'probe', 'probe_until')
  if verdict == 'worked' then
    redis.call('DEL', KEYS[2])
    return 'closed'
  end
  if verdict == 'failed' then
    redis.call('HSET', KEYS[2], 'open_until', now + pause)
    redis.call('PEXPIRE', KEYS[2], forgotten)
  end
  return ''
end
if verdict == 'worked' then redis.call('DEL', KEYS[2]) end
if verdict ~= 'failed' then return '' end
local failures = redis.call('HINCRBY', KEYS[2], 'failures', 1)
redis.call('PEXPIRE', KEYS[2], kept)
if threshold <= 0 or failures < threshold then return '' end
redis.call('HSET', KEYS[2], 'open_until', now + pause)
redis.call('PEXPIRE', KEYS[2], forgotten)
return 'opened'
"""


class Verdict(StrEnum):
    """What a call says about its platform."""

    WORKED = "worked"
    FAILED = "failed"
    NOTHING = "nothing"


class PlatformBlocked(Exception):
    """The platform is not called now; nothing was sent. The text is one sentence, `retry_after` in seconds."""

    def __init__(self, code: Literal["platform_busy", "platform_circuit_open"], sentence: str, retry_after: int):
        super().__init__(sentence)
        self.code = code
        self.retry_after = retry_after


@dataclass(slots=True, kw_only=True)
class Turn:
    """A place among the calls under way to a platform."""

    id: str
    verdict: Verdict = Verdict.NOTHING

    def answered(self, response: PlatformResponse) -> PlatformResponse:
        """Any answer but a 5xx shows that the platform works: a 4xx is the agent's fault, a 429 an answer in time."""
        self.verdict = Verdict.FAILED if response.status >= 500 else Verdict.WORKED
        return response

    def failed(self, error: PlatformUnreachable) -> None:
        self.verdict = Verdict.NOTHING if error.code in _NOT_THE_PLATFORMS else Verdict.FAILED


@contextmanager
def turn(*, owner_id: UUID, platform: str, timeout: float, now: datetime) -> Iterator[Turn]:
    """Take a place for as long as the block runs, and tell the circuit what came of it.

    `timeout` is that of the call, in seconds: a little after it the place of a process that has died is free again.

    It reaches over the network: never in a transaction.

    Raises:
        PlatformBlocked: the circuit is open, or AGENTVALET_PLATFORM_CONCURRENCY calls are under way.
    """
    taken = Turn(id=str(uuid4()))
    _enter(owner_id, platform, taken, timeout, now)
    try:
        yield taken
    except PlatformUnreachable as error:
        taken.failed(error)
        raise
    finally:
        _leave(owner_id, platform, taken)


def _enter(owner_id: UUID, platform: str, taken: Turn, timeout: float, now: datetime) -> None:
    arguments = [
        _milliseconds(now),
        taken.id,
        str(math.ceil((timeout + settings.LEASE_MARGIN) * 1000)),
        str(settings.PLATFORM_CONCURRENCY),
        str(math.ceil(settings.CIRCUIT_SECONDS * 1000)),
        str(math.ceil(longest_lease() * 1000)),
    ]
    try:
        answer = valkey(settings.REDIS_URL).eval(_ENTER, 2, *keys_of(owner_id, platform), *arguments)
    except redis.RedisError as error:
        logger.warning("calls go on without limit and circuit, Valkey does not answer: %s", error)
        return
    word, wait = cast(list[bytes], answer)
    retry_after = max(1, math.ceil(float(wait) / 1000))
    if word == b"open":
        raise PlatformBlocked(
            "platform_circuit_open",
            f"{platform} failed {settings.CIRCUIT_FAILURES} times in a row and is not called for the time being.",
            retry_after,
        )
    if word == b"busy":
        raise PlatformBlocked(
            "platform_busy",
            f"{settings.PLATFORM_CONCURRENCY} calls to {platform} are under way, as many as may be.",
            retry_after,
        )


def _leave(owner_id: UUID, platform: str, taken: Turn) -> None:
    """Give the place back. The call has been made by now: whatever fails here must not take its answer away."""
    now = timezone.now()
    arguments = [
        _milliseconds(now),
        taken.id,
        taken.verdict.value,
        str(settings.CIRCUIT_FAILURES),
        str(math.ceil(settings.CIRCUIT_SECONDS * 1000)),
        str(int(_FAILURES_KEPT.total_seconds() * 1000)),
        str(int(_FORGOTTEN_AFTER.total_seconds() * 1000)),
    ]
    try:
        change = cast(bytes, valkey(settings.REDIS_URL).eval(_LEAVE, 2, *keys_of(owner_id, platform), *arguments))
    except redis.RedisError as error:
        logger.warning("a place among the calls to a platform ends with its lease, Valkey does not answer: %s", error)
        return
    if not change:
        return
    opened = change == b"opened"
    try:
        with transaction.atomic():
            record(
                event=Event.PLATFORM_CIRCUIT_OPENED if opened else Event.PLATFORM_CIRCUIT_CLOSED,
                result=Result.ERROR if opened else Result.INFO,
                owner_id=owner_id,
                actor=_SYSTEM,
                now=now,
                platform=platform,
                metadata={"failures": settings.CIRCUIT_FAILURES} if opened else None,
            )
    except AnyDatabaseError:
        logger.exception("the circuit of %s was %s, and that could not be put on record", platform, change.decode())


def _milliseconds(now: datetime) -> str:
    return f"{now.timestamp() * 1000:.3f}"
