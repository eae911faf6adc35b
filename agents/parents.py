"""Whose child an agent is, for lists: one query for a whole page."""

from collections.abc import Iterable
from uuid import UUID

from agents.models import Agent


def parent_names(*, owner_id: UUID, agent_ids: Iterable[str]) -> dict[str, str]:
    """By the id of each agent that is a child: the name of its parent, as it is now."""
    children = Agent.objects.filter(owner_id=owner_id, pk__in=set(agent_ids), parent__isnull=False)
    return {child_id: str(name) for child_id, name in children.values_list("pk", "parent__name")}
