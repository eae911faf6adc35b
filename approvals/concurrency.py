"""How many direct calls may be under way at once: each holds a thread of the web server while a platform thinks.

`under_way` counts in this process, with a lock: `agentvalet.launch` starts one web worker process, and the threads that
have to stay free for pages and polls are that process's own. Nothing to count is left behind by a process that dies.
`at_platform` counts for all processes (`platforms.traffic`).
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from agents.authentication import Caller, record_refusal
from agents.errors import ApiError
from agents.throttling import first_in_a_minute
from platforms.traffic import PlatformBlocked, Turn, turn

_lock = threading.Lock()
_under_way: Counter[str] = Counter()  # by family; only what is not zero


@contextmanager
def under_way(caller: Caller, *, request_id: UUID, now: datetime) -> Iterator[None]:
    """Count one call for as long as the block runs.

    AGENTVALET_AGENT_CONCURRENCY is for an agent and its children together, so that children are no way around it.
    Half of AGENTVALET_WEB_THREADS is for all calls; the other half is kept free.

    Raises:
        ApiError: 429, at once: a call that waited for its turn would hold the thread that is to be kept free.
    """
    family = caller.parent_id or caller.agent_id
    with _lock:
        refusal = _refusal(family)
        if not refusal:
            _under_way[family] += 1
    if refusal:
        # On record once a minute: a row per refusal would be a load of its own.
        if cache.add(f"actions:crowded:{caller.agent_id}", 1, timeout=60):
            record_refusal(caller, request_id=request_id, reason="too_many_in_flight", now=now)
        raise ApiError(429, refusal, code="too_many_in_flight", headers={"Retry-After": "1"})
    try:
        yield
    finally:
        with _lock:
            _under_way[family] -= 1
            if not _under_way[family]:
                del _under_way[family]


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
            raise ApiError(
                503 if blocked.code == "platform_circuit_open" else 429,
                str(blocked),
                code=blocked.code,
                headers={"Retry-After": str(blocked.retry_after)},
            ) from blocked
        yield taken


def _refusal(family: str) -> str:
    if _under_way[family] >= settings.AGENT_CONCURRENCY:
        return f"{settings.AGENT_CONCURRENCY} calls of this agent are under way: send the next when one has its answer."
    if _under_way.total() >= settings.WEB_THREADS // 2:
        return "This server has as many calls under way as it takes: try again in a moment."
    return ""
