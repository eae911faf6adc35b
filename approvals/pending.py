"""What an agent left behind: its calls that wait for a person, and what became of those of the last day."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models.functions import Coalesce

from approvals.models import ApprovalRequest, Decision

DAY = timedelta(hours=24)
MOST = 100  # of each kind, the newest first
_LONGEST_RUN = timedelta(hours=2)  # from decision to outcome (rights.START_WITHIN, and the lease)
_COLUMNS = ("form", "result_json", "seal", "disclosure")  # long, and not in the list


class Left(NamedTuple):
    waiting: list[ApprovalRequest]
    ended: list[ApprovalRequest]  # decided; or past its time, even if the sweep has not come by yet


def left_by(*, agent_id: str, now: datetime) -> Left:
    """Two queries, both on an index."""
    rows = ApprovalRequest.objects.for_agent(agent_id).defer(*_COLUMNS)
    open_rows = list(rows.filter(decision=Decision.PENDING).order_by("-created_at")[:MOST])
    ended = rows.filter(decided_at__gt=now - DAY - _LONGEST_RUN)
    ended = ended.annotate(ended_at=Coalesce("executed_at", "decided_at")).filter(ended_at__gt=now - DAY)
    overdue = [row for row in open_rows if row.expires_at <= now]
    return Left(
        waiting=[row for row in open_rows if now < row.expires_at],
        ended=[*overdue, *ended.order_by("-decided_at")[:MOST]][:MOST],
    )
