"""An admin says that a platform is somewhere else, or wants its credential otherwise: no stored one goes there."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from agents.models import Member
from audit.events import JSON, Event
from platforms.credentials import parse_auth
from platforms.models import Connection, ConnectionStatus, Platform
from platforms.setup import changing, on_record, platform_facts


def readdress(
    *, member: Member, slug: str, base_url: str, auth: Mapping[str, JSON], request_id: UUID, now: datetime
) -> int:
    """The platform, from now on there; how many connections need their credential again before they can be used.

    The seal over each one's way out stays what it was (`platforms.destinations`), so none is sent to the new address
    until somebody gives it for that. Locks: the platform, then its connections.

    Raises NotAllowed, Platform.DoesNotExist.
    """
    with changing(member, request_id=request_id, now=now) as change:
        platform = Platform.objects.for_owner(member.owner).select_for_update(no_key=True).get(slug=slug)
        before: dict[str, JSON] = {"base_url": platform.base_url, "auth": dict(platform.auth)}
        if base_url == platform.base_url and parse_auth(auth) == parse_auth(platform.auth):
            return 0
        platform.base_url, platform.auth = base_url, dict(auth)
        platform.save(update_fields=["base_url", "auth"])
        connections = Connection.objects.select_for_update(no_key=True).filter(platform=platform).order_by("pk")
        lost = [connection.pk for connection in connections.only("pk")]
        Connection.objects.filter(pk__in=lost).update(status=ConnectionStatus.REAUTH_NEEDED)
        facts: dict[str, JSON] = {"auth": dict(auth), "before": before, "connections": len(lost)}
        on_record(change, Event.PLATFORM_CHANGED, platform, platform_facts(platform) | facts)
    return len(lost)
