"""How many direct calls may be under way at once: each holds a thread of the web server while a platform thinks.

Counted in this process, with a lock: `agentvalet.launch` starts one web worker process, and the threads that have to
stay free for pages and polls are that process's own. Nothing to count is left behind by a process that dies.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from agents.authentication import Caller, record_refusal
from agents.errors import ApiError

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


def _refusal(family: str) -> str:
    if _under_way[family] >= settings.AGENT_CONCURRENCY:
        return f"{settings.AGENT_CONCURRENCY} calls of this agent are under way: send the next when one has its answer."
    if _under_way.total() >= settings.WEB_THREADS // 2:
        return "This server has as many calls under way as it takes: try again in a moment."
    return ""
