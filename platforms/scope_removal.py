"""An admin deletes a scope: what goes with it, and the change."""

from datetime import datetime
from uuid import UUID

from agents.models import Agent, AgentStatus, Member
from audit.events import Event
from platforms.grants import revoke
from platforms.models import Grant, Platform, Scope
from platforms.setup import changing, on_record, platform_facts


def losing(*, scope: Scope, now: datetime) -> int:
    """How many agents may do less without the scope; children count by themselves."""
    current = Grant.objects.current(now).filter(scope=scope)
    agents = Agent.objects.exclude(status=AgentStatus.REVOKED).exclude(expires_at__lte=now)
    return agents.filter(grants__in=current).distinct().count()


def remove_scope(*, member: Member, slug: str, scope_id: int, request_id: UUID, now: datetime) -> tuple[Scope, int]:
    """Delete the scope with every permission for it, each put on record; returns it and how many agents lose it.

    A call that waits under it, or is approved already, is not sent: its permission is looked at just before.
    Locks: the platform, the scope, its grants.

    Raises NotAllowed, Platform.DoesNotExist, Scope.DoesNotExist.
    """
    with changing(member, request_id=request_id, now=now) as change:
        platform = Platform.objects.for_owner(member.owner).select_for_update(no_key=True).get(slug=slug)
        scope = Scope.objects.select_for_update().get(platform=platform, pk=scope_id)
        agents = losing(scope=scope, now=now)
        grants = Grant.objects.select_for_update(of=("self",)).select_related("agent", "scope__platform")
        for grant in grants.filter(scope=scope, revoked_at=None).order_by("pk"):
            revoke(grant=grant, change=change)
        removed = {"name": scope.name, "rules": scope.rules, "step_up": scope.step_up, "agents": agents}
        on_record(change, Event.PLATFORM_CHANGED, platform, platform_facts(platform) | {"scope_removed": removed})
        Scope.objects.filter(pk=scope.pk).delete()
    return scope, agents
