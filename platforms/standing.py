"""How an owner's platforms stand: their connections, and whether they are called at the moment. Reading only."""

from dataclasses import dataclass
from datetime import datetime

from agents.models import Owner
from platforms.models import Connection, Platform
from platforms.traffic import Circuit, circuits_of

MOST = 200  # on the page, by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    platform: Platform
    connections: list[Connection]
    circuit: Circuit


def standings(*, owner: Owner, now: datetime) -> list[Standing]:
    """Two queries, and one question to Valkey: never in a transaction."""
    platforms = list(Platform.objects.for_owner(owner).prefetch_related("connections").order_by("slug")[:MOST])
    circuits = circuits_of(owner_id=owner.pk, platforms=[platform.slug for platform in platforms], now=now)
    return [
        Standing(
            platform=platform,
            connections=sorted(platform.connections.all(), key=lambda connection: connection.label),
            circuit=circuit,
        )
        for platform, circuit in zip(platforms, circuits, strict=True)
    ]
