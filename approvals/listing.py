"""Which rows the queue's page has, and how many of their calls it reads: both bounded, whatever agents pile up."""

from datetime import datetime
from typing import NamedTuple

from django.db.models import F, Window
from django.db.models.functions import Coalesce, Length, RowNumber

from agents.models import Agent, AgentStatus, Owner
from approvals.models import ApprovalRequest, Decision
from approvals.stored_forms import LONG_COLUMNS, read_forms

MOST_CARDS = 50  # of one page that wait, and as many that run; others move up as these are decided


class Listing(NamedTuple):
    """Oldest first. A row whose call has no room on the page comes without its `form` (deferred)."""

    rows: list[ApprovalRequest]
    pending_count: int
    hidden_count: int  # those that wait and are not in `rows`
    has_agents: bool  # False: nobody could have asked yet


def list_queue(*, owner: Owner, now: datetime) -> Listing:
    """What waits and what runs. Every agent's oldest call comes before any agent's second: none can hide another's.

    An agent and its children take their turns together.
    """
    rows = ApprovalRequest.objects.for_owner(owner).defer(*LONG_COLUMNS).annotate(form_size=Length("form"))
    turn = Window(
        RowNumber(),
        partition_by=[Coalesce("agent__parent_id", "agent_id")],
        order_by=[F("created_at").asc(), F("pk").asc()],
    )
    pending = rows.pending(now)
    waiting = list(pending.annotate(turn=turn).order_by("turn", "created_at", "pk")[:MOST_CARDS])
    running = rows.filter(decision=Decision.APPROVED, executed_at__isnull=True)
    total = pending.count()
    chosen = [*waiting, *running.order_by("decided_at")[:MOST_CARDS]]
    read_forms(chosen)
    return Listing(
        sorted(chosen, key=lambda row: (row.created_at, row.pk)),
        total,
        hidden_count=max(0, total - len(waiting)),
        has_agents=bool(chosen) or Agent.objects.for_owner(owner).exclude(status=AgentStatus.REVOKED).exists(),
    )
