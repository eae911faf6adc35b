"""What keeps the admin's lists fast over a million rows: dates without reading them, pages without counting them."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

MOST_LISTED = 5000  # rows that a list counts and pages through; what is older is reached by its filters
_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")


class BoundedPaginator(Paginator[Any]):
    """Counts to MOST_LISTED and no further."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # the admin hands in no list
        return rows.order_by()[:MOST_LISTED].count()


class PeriodFilter(admin.SimpleListFilter):
    """Years, then the months of one, then its days, in UTC; the admin class says of which `period_field`.

    Django's own date hierarchy reads every row to see which days there are. This one reads the oldest row.
    """

    title = "date (UTC)"
    parameter_name = "period"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        self._field: str = model_admin.period_field
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = _PERIOD.fullmatch(self.value() or "")
        year, month, _ = found.groups() if found else (None, None, None)
        if found is None or year is None:
            rows = model_admin.get_queryset(request).order_by(self._field)
            oldest = rows.values_list(self._field, flat=True).first()
            names = [f"{one:04}" for one in range(timezone.now().year, (oldest or timezone.now()).year - 1, -1)]
        elif month is None:
            names = [year, *(f"{year}-{one:02}" for one in range(1, 13))]
        else:
            days = monthrange(int(year), int(month))[1] if _span(f"{year}-{month}") else 0
            names = [year, f"{year}-{month}", *(f"{year}-{month}-{one:02}" for one in range(1, days + 1))]
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        span = _span(self.value() or "")
        if span is None:
            return queryset.none()
        return queryset.filter(**{f"{self._field}__gte": span[0], f"{self._field}__lt": span[1]})


def _span(period: str) -> tuple[datetime, datetime] | None:
    """Beginning and end of a year, a month or a day; None for anything else."""
    found = _PERIOD.fullmatch(period)
    if found is None:
        return None
    year, month, day = (int(part) if part else None for part in found.groups())
    try:
        begin = datetime(year or 0, month or 1, day or 1, tzinfo=UTC)
        if day:
            return begin, begin + timedelta(days=1)
        if month:
            return begin, begin + timedelta(days=monthrange(begin.year, begin.month)[1])
        return begin, begin.replace(year=begin.year + 1)
    except (ValueError, OverflowError):
        return None
