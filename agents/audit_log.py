"""What members do with the audit log: find an agent's rows by its name, have the chain checked, take a file along."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.lifecycle import NotAllowed
from agents.models import Agent, Member, Owner
from agents.reveal import reveal
from audit import bundle, checks, exports
from audit.events import Actor, Event, Result
from audit.filters import Filters
from audit.records import record

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


def begin_export(
    *, member: Member, kind: str, filters: Filters, asked: Mapping[str, str], request_id: UUID, now: datetime
) -> Iterator[bytes]:
    """The file, to be read piece by piece; that it was made is on record before it is. Every role may.

    It ends before the row that records it, so `rows` there is how many it has. `asked`: the filters as they were sent.
    """
    owner_id = member.owner_id
    up_to = exports.last_row(owner_id=owner_id)
    if kind == "bundle":
        first, last = bundle.span(owner_id=owner_id, filters=filters, up_to=up_to)
        rows, pieces = last - first + 1, bundle.write_bundle(owner_id=owner_id, span=(first, last), now=now)
    else:
        rows = exports.count(owner_id=owner_id, filters=filters, up_to=up_to)
        batches = exports.matching(owner_id=owner_id, filters=filters, up_to=up_to)
        pieces = exports.as_csv(batches, reveal=reveal) if kind == "csv" else exports.as_jsonl(batches)
    with transaction.atomic(durable=True):
        record(
            event=Event.AUDIT_EXPORTED,
            result=Result.INFO,
            owner_id=owner_id,
            actor=Actor("member", str(member.user_id), member.user.email),
            now=now,
            request_id=request_id,
            metadata={"kind": kind, "filters": dict(asked), "rows": rows, "up_to": up_to},
        )
    return pieces
