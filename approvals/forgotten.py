"""Which approved calls the sweep wakes workers for: in turn, and no more than may begin."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db.models import Q, Window
from django.db.models.functions import RowNumber

from approvals import runs
from approvals.models import ApprovalRequest
from platforms.circuits import free_places

# The message of a fresh decision gets this long before the sweep sends another.
_HEAD_START = timedelta(seconds=3)

_T = TypeVar("_T")


def forgotten(*, now: datetime, limit: int) -> list[UUID]:
    """What waits and may begin now, at most `limit`: every owner's first call before any owner's second, and among an
    owner's every platform's first before any platform's second.

    Of the calls to one platform as many as it has places for: none while its circuit is open, one if that is due for a
    probe. Those that have waited for it as long as they may are named all the same: a worker ends them.

    A decision that lies ahead is one from before the clock was put back, and waits for no message any more.
    """
    long_ago = Q(decided_at__lte=now - _HEAD_START) | Q(decided_at__gt=now + _HEAD_START)
    place = Window(RowNumber(), partition_by=["owner_id", "platform"], order_by=["decided_at", "pk"])
    rows = ApprovalRequest.objects.unclaimed().filter(long_ago).annotate(place=place).filter(place__lte=limit)
    waiting: dict[tuple[UUID, str], list[tuple[UUID, datetime | None]]] = defaultdict(list)
    for pk, owner_id, platform, decided_at in rows.order_by("place", "decided_at", "pk").values_list(
        "pk", "owner_id", "platform", "decided_at"
    ):
        waiting[owner_id, platform].append((pk, decided_at))
    too_long = now - runs.patience()
    by_owner: dict[UUID, list[list[UUID]]] = defaultdict(list)
    for ((owner_id, _), calls), free in zip(waiting.items(), free_places(list(waiting), now=now), strict=True):
        ending = sum(decided_at is not None and decided_at <= too_long for _, decided_at in calls)
        by_owner[owner_id].append([pk for pk, _ in calls[: max(free, ending)]])
    return list(_in_turn(list(_in_turn(platforms)) for platforms in by_owner.values()))[:limit]


def _in_turn(queues: Iterable[list[_T]]) -> Iterator[_T]:
    """Everybody's first, then everybody's second, and so on."""
    left = [iter(queue) for queue in queues]
    while left:
        still = []
        for queue in left:
            for item in queue:
                yield item
                still.append(queue)
                break
        left = still
