"""What a reader of the log asks for: the form of the filters, and the rows that it stands for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.db import connection, transaction
from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from audit.events import DECISIONS, Event, Result
from audit.models import AuditEvent, AuditEventQuerySet
from audit.recordable import SHORT_TEXT

# Constants, no parameters: with parameters the planner could not tell that the partial index of decisions fits.
_IS_DECISION = "event IN ({})".format(", ".join(f"'{event}'" for event in sorted(DECISIONS)))


class FilterForm(forms.Form):
    """The filters of a page of the log, all optional. Times without a zone are UTC."""

    tab = forms.ChoiceField(choices=[("", "Actions"), ("decisions", "Policy Decisions")], required=False)
    since = forms.DateTimeField(required=False, label="From (UTC)")
    until = forms.DateTimeField(required=False, label="To (UTC)")
    agent = forms.CharField(required=False, max_length=SHORT_TEXT)
    action = forms.ChoiceField(choices=[("", "Any")] + [(event, event) for event in sorted(Event)], required=False)
    result = forms.ChoiceField(choices=[("", "Any")] + [(one, one.capitalize()) for one in Result], required=False)
    q = forms.CharField(required=False, max_length=SHORT_TEXT, label="Search")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which rows. Empty values ask for nothing."""

    decisions: bool = False
    since: datetime | None = None
    until: datetime | None = None
    agent_id: str = ""
    agent_name: str = ""
    event: str = ""
    result: str = ""
    search: str = ""

    @classmethod
    def of(cls, cleaned: dict[str, Any], *, agent_id: str) -> "Filters":
        """From the clean data of a FilterForm. AGENT_ID is whom its `agent` names; "" when no agent has that name."""
        return cls(
            decisions=cleaned["tab"] == "decisions",
            since=cleaned["since"],
            until=cleaned["until"],
            agent_id=agent_id,
            agent_name="" if agent_id else cleaned["agent"],
            event=cleaned["action"],
            result=cleaned["result"],
            search=cleaned["q"],
        )

    @property
    def wanted_id(self) -> UUID | None:
        """The search, where it is an id."""
        try:
            return UUID(self.search)
        except ValueError:
            return None


@contextmanager
def planned_for_values() -> Iterator[None]:
    """A transaction in which PostgreSQL plans each query for its very values.

    Prepared statements get, after some runs, one plan for all values. That one walks the whole log in the order of
    time for a value of which there are ten rows, because most values have many.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        yield


def select(*, owner_id: UUID, filters: Filters) -> tuple[AuditEventQuerySet, AuditEventQuerySet | None]:
    """The rows, and, where more than one index would be needed to find them, the rows to look for them in.

    The second is None when one index hands the rows out in the order of time. Otherwise the first is a part of the
    second, and who reads it has to say how far to look: matches may be far apart.
    """
    rows = AuditEvent.objects.for_owner(owner_id)
    if filters.since:
        rows = rows.filter(at__gte=filters.since)
    if filters.until:
        rows = rows.filter(at__lte=filters.until)
    wanted = filters.wanted_id
    if wanted:
        ids = Q(request_id=wanted) | Q(approval_id=wanted) | Q(id=wanted)
        return _narrowed(rows.filter(ids), _conditions(filters)), None
    conditions = _conditions(filters)
    if filters.search:
        by_platform = AuditEvent.objects.for_owner(owner_id).filter(platform=filters.search)
        conditions.append(Q(platform=filters.search) if by_platform.exists() else _contains(filters.search))
    indexed = [one for one in conditions if _has_index(one)]
    if not conditions:
        return rows, None
    if len(conditions) == 1 and indexed:
        return rows.filter(conditions[0]), None
    return _narrowed(rows, conditions), rows.filter(indexed[0]) if indexed else rows


def _conditions(filters: Filters) -> list[Q]:
    """One for each filter but times and search, those first that leave the fewest rows."""
    conditions = []
    if filters.agent_id:
        conditions.append(Q(agent_id=filters.agent_id))
    if filters.event:
        conditions.append(Q(event=filters.event))
    if filters.result:
        conditions.append(Q(result=filters.result))
    if filters.decisions and not filters.event:
        conditions.append(Q(RawSQL(_IS_DECISION, (), output_field=BooleanField())))  # noqa: S611 - constants
    elif filters.decisions and filters.event not in DECISIONS:
        conditions.append(Q(pk__in=[]))
    if filters.agent_name:
        conditions.append(Q(agent_name__iexact=filters.agent_name))
    return conditions


def _contains(text: str) -> Q:
    found = Q()
    for column in ("reason", "action", "platform", "agent_name", "actor_label"):
        found |= Q(**{f"{column}__icontains": text})
    return found


def _has_index(condition: Q) -> bool:
    """Whether an index serves this condition in the order of time."""
    [child, *others] = condition.children
    if others:
        return False
    return isinstance(child, RawSQL) or (
        isinstance(child, tuple) and child[0] in {"agent_id", "event", "result", "platform"}
    )


def _narrowed(rows: AuditEventQuerySet, conditions: list[Q]) -> AuditEventQuerySet:
    for condition in conditions:
        rows = rows.filter(condition)
    return rows
