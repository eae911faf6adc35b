"""What members do with the audit log: find an agent's rows by its name, have the chain checked."""

from datetime import datetime
from uuid import UUID

from agents.lifecycle import NotAllowed
from agents.models import Agent, Member, Owner
from audit import checks
from audit.events import Actor

MOST_OFFERED = 200


def agent_named(*, owner: Owner, text: str) -> str:
    """The id of the agent that TEXT names, by id or by name; "" when none or several have that name."""
    if text.startswith("agt_"):
        return text
    if not text:
        return ""
    ids = list(Agent.objects.for_owner(owner).filter(name__iexact=text).values_list("pk", flat=True)[:2])
    return ids[0] if len(ids) == 1 else ""


def agents_to_offer(*, owner: Owner) -> list[tuple[str, str]]:
    """Ids and names for the filter's list, without the children."""
    rows = Agent.objects.for_owner(owner).roots().order_by("name")
    return list(rows.values_list("pk", "name")[:MOST_OFFERED])


def have_chain_checked(*, member: Member, request_id: UUID, now: datetime) -> bool:
    """Have the owner's whole chain checked soon; False when that is waiting or under way already.

    Raises NotAllowed where the role is not enough.
    """
    if not member.may_audit:
        raise NotAllowed
    actor = Actor("member", str(member.user_id), member.user.email)
    return checks.ask(owner_id=member.owner_id, actor=actor, request_id=request_id, now=now)
