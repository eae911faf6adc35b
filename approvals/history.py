"""The approvals that have ended, the newest decision first: filters, and pages that cost the same however far back."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Length

from agents.models import Agent, Owner
from approvals.models import ApprovalRequest, Decision
from approvals.stored_forms import LONG_COLUMNS, read_forms
from platforms.models import Platform

PER_PAGE = 50
MOST_CHOICES = 200  # agents and platforms to choose from; further ones are reached by a link from their own pages


class State(StrEnum):
    APPROVED = "approved"  # and the platform has taken it
    DENIED = "denied"
    EXPIRED = "expired"
    FAILED = "failed"  # approved, and not sent or turned down by the platform
    UNKNOWN = "unknown"  # approved, and may have reached the platform

    @property
    def label(self) -> str:
        """The word that the rows have."""
        return "Outcome unknown" if self is State.UNKNOWN else self.capitalize()


_TURNED_DOWN = Q(execution_error__isnull=False) | Q(result_status__gte=300)
_STATES = {
    State.APPROVED: Q(decision=Decision.APPROVED, execution_error=None, result_status__lt=300),
    State.DENIED: Q(decision=Decision.DENIED),
    State.EXPIRED: Q(decision=Decision.EXPIRED),
    State.FAILED: Q(decision=Decision.APPROVED, outcome_unknown=False) & _TURNED_DOWN,
    State.UNKNOWN: Q(outcome_unknown=True),
}


class Place(NamedTuple):
    """Where a page begins: after the row that was decided then and has this id."""

    decided_at: datetime
    approval_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to keep to; `since` and `until` are days in UTC, both included. An agent stands for its children, too."""

    state: State | None = None
    agent_id: str = ""
    platform: str = ""
    since: date | None = None
    until: date | None = None


class Page(NamedTuple):
    rows: list[ApprovalRequest]
    older: Place | None  # None on the last page


class Choices(NamedTuple):
    agents: list[tuple[str, str]]  # id, name
    platforms: list[str]


def list_history(*, owner: Owner, filters: Filters, after: Place | None) -> Page:
    """Two queries: the page along an index, begun after a row and not after a number of them, and its shorter calls."""
    ended = ApprovalRequest.objects.for_owner(owner).ended().filter(decided_at__isnull=False)
    rows = ended.defer(*LONG_COLUMNS).annotate(form_size=Length("form"))
    if filters.state is not None:
        rows = rows.filter(_STATES[filters.state])
    if filters.agent_id:
        rows = rows.filter(Q(agent_id=filters.agent_id) | Q(agent__parent_id=filters.agent_id))
    if filters.platform:
        rows = rows.filter(platform=filters.platform)
    if filters.since is not None:
        rows = rows.filter(decided_at__gte=_midnight(filters.since))
    if filters.until is not None:
        rows = rows.filter(decided_at__lt=_midnight(filters.until) + timedelta(days=1))
    if after is not None:
        at, pk = after
        rows = rows.filter(decided_at__lte=at).filter(Q(decided_at__lt=at) | Q(pk__lt=pk))
    found = list(rows.order_by("-decided_at", "-pk")[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    read_forms(shown)
    older = None
    if len(found) > len(shown) and shown[-1].decided_at is not None:
        older = Place(shown[-1].decided_at, shown[-1].pk)
    return Page(shown, older)


def list_choices(*, owner: Owner) -> Choices:
    """What the filters offer: two queries."""
    agents = Agent.objects.for_owner(owner).roots().order_by("name").values_list("pk", "name")
    platforms = Platform.objects.for_owner(owner).order_by("slug").values_list("slug", flat=True)
    return Choices(list(agents[:MOST_CHOICES]), list(platforms[:MOST_CHOICES]))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
