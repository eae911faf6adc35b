"""How an owner's platforms stand: their connections, and whether they are called at the moment. Reading only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db.models import Count, Prefetch, Q

from agents.models import Owner
from platforms.catalogue import Entry, entries
from platforms.circuits import Circuit, circuits_of
from platforms.models import Connection, Platform, Scope

MOST = 200  # on the page, by name
UNSORTED = "Other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    platform: Platform
    connections: list[Connection]
    circuit: Circuit

    @property
    def lacks_default(self) -> bool:
        return len(self.connections) > 1 and not any(connection.is_default for connection in self.connections)


def standings(*, owner: Owner, now: datetime, slug: str | None = None) -> list[Standing]:
    """Two queries, and one question to Valkey: never in a transaction. `slug`: of that one only."""
    rows = Platform.objects.for_owner(owner)
    if slug is not None:
        rows = rows.filter(slug=slug)
    connections = Connection.objects.defer("credential_wrapped_key", "credential_ciphertext").order_by("label")
    platforms = list(rows.prefetch_related(Prefetch("connections", queryset=connections)).order_by("slug")[:MOST])
    circuits = circuits_of(owner_id=owner.pk, platforms=[platform.slug for platform in platforms], now=now)
    return [
        Standing(platform=platform, connections=list(platform.connections.all()), circuit=circuit)
        for platform, circuit in zip(platforms, circuits, strict=True)
    ]


def by_category(rows: Iterable[Standing]) -> list[tuple[str, list[Standing]]]:
    def category(row: Standing) -> str:
        return row.platform.category or UNSORTED

    return [(name, list(some)) for name, some in groupby(sorted(rows, key=category), key=category)]


def offers() -> list[tuple[str, list[Entry]]]:
    """The catalogue by category."""
    return [(name, list(some)) for name, some in groupby(entries().values(), key=lambda entry: entry.category)]


def scopes_of(*, platform: Platform, now: datetime) -> Sequence[Scope]:
    """By name, each with `holders`: how many agents may use it at this moment."""
    held = Q(grants__revoked_at=None) & (Q(grants__expires_at=None) | Q(grants__expires_at__gt=now))
    holders = Count("grants__agent", filter=held & ~Q(grants__agent__status="revoked"), distinct=True)
    return list(Scope.objects.filter(platform=platform).annotate(holders=holders).order_by("name"))
