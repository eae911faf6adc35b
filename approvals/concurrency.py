"""How many calls may be under way at once: each holds a thread of its process while a platform thinks.

`under_way` and `in_worker` count in this process, with a lock: the threads that have to stay free for pages and polls,
and for the calls of others, are that process's own. Nothing to count is left behind by a process that dies.
`at_platform` counts for all processes (`platforms.traffic`).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from django.conf import settings

from agents.authentication import Caller, record_refusal, record_turned_away
from agents.errors import ApiError
from agents.throttling import first_in_a_minute
from platforms.traffic import PlatformBlocked, Turn, turn

_K = TypeVar("_K")
_lock = threading.Lock()
_under_way: Counter[str] = Counter()  # by family; only what is not zero
_of_owner: Counter[UUID] = Counter()  # the same calls
_approved: Counter[UUID] = Counter()  # by owner, in a worker


@contextmanager
def under_way(caller: Caller, *, request_id: UUID, now: datetime) -> Iterator[None]:
    """Count one call for as long as the block runs.

    AGENTVALET_AGENT_CONCURRENCY is for an agent and its children together, so that children are no way around it.
    Half of AGENTVALET_WEB_THREADS is for all calls, three quarters of that for the agents of any one owner; the other
    half is kept free.

    Raises:
        ApiError: 429, at once: a call that waited for its turn would hold the thread that is to be kept free.
    """
    family = caller.family
    with _lock:
        refusal = _refusal(family, caller.owner_id)
        if not refusal:
            _under_way[family] += 1
            _of_owner[caller.owner_id] += 1
    if refusal:
        record_turned_away(caller, request_id=request_id, reason="too_many_in_flight", now=now)
        raise ApiError(429, refusal, code="too_many_in_flight", headers={"Retry-After": "1"})
    try:
        yield
    finally:
        with _lock:
            _give_back(_under_way, family)
            _give_back(_of_owner, caller.owner_id)


@contextmanager
def in_worker(owner_id: UUID) -> Iterator[bool]:
    """Whether a thread is left for the owner's approved calls; if so it is counted for as long as the block runs.

    Three quarters of AGENTVALET_WORKER_THREADS are for any one owner: the platforms of one, all hanging, hold up nobody
    else. Nobody waits for a thread in a thread: the sweep comes back.
    """
    with _lock:
        is_free = _approved[owner_id] < max(1, settings.WORKER_THREADS * 3 // 4)
        _approved[owner_id] += is_free
    try:
        yield is_free
    finally:
        if is_free:
            with _lock:
                _give_back(_approved, owner_id)


@contextmanager
def at_platform(caller: Caller, *, platform: str, request_id: UUID, now: datetime) -> Iterator[Turn]:
    """Hold a place among all calls of the owner to the platform, those of the workers included.

    Raises:
        ApiError: 503, the platform's circuit is open; 429, as many calls to it are under way as may be. At once.
    """
    with ExitStack() as stack:
        try:
            taken = stack.enter_context(
                turn(owner_id=caller.owner_id, platform=platform, timeout=settings.DIRECT_TIMEOUT, now=now)
            )
        except PlatformBlocked as blocked:
            if first_in_a_minute(key=f"blocked:{caller.agent_id}:{platform}:{blocked.code}", now=now):
                record_refusal(caller, request_id=request_id, reason=blocked.code, now=now, platform=platform)
            is_open = blocked.code == "platform_circuit_open"
            raise ApiError(
                503 if is_open else 429,
                str(blocked),
                reason="circuit_breaker_open" if is_open else "",  # the word that clients know for it
                code=blocked.code,
                headers={"Retry-After": str(blocked.retry_after)},
            ) from blocked
        yield taken


def _give_back(counts: Counter[_K], key: _K) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _refusal(family: str, owner_id: UUID) -> str:
    if _under_way[family] >= settings.AGENT_CONCURRENCY:
        return f"{settings.AGENT_CONCURRENCY} calls of this agent are under way: send the next when one has its answer."
    most = settings.WEB_THREADS // 2
    if _of_owner[owner_id] >= max(1, most * 3 // 4):
        return "The agents of this account have as many calls under way as they may: try again in a moment."
    if _under_way.total() >= most:
        return "This server has as many calls under way as it takes: try again in a moment."
    return ""
