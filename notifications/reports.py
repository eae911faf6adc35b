"""Agents' reports about themselves: kept as they came, on record, and told to people when they are bad news."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from agents.authentication import Caller
from agents.lifecycle import NotAllowed
from agents.models import Member, Owner
from audit.events import Actor, Event, Result
from audit.records import record
from notifications.inbox import notify, withdraw
from notifications.models import AgentReport, Notification, Severity

_LOUD = (Severity.ERROR, Severity.CRITICAL)
_TAG = "report:"
_KEPT = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the agent reports. `context` is JSON text, "" for none."""

    severity: Severity
    message: str
    code: str = ""
    platform: str = ""
    endpoint: str = ""
    correlation_id: UUID | None = None
    context: str = ""


def report(*, caller: Caller, diagnosis: Diagnosis, request_id: UUID, now: datetime) -> AgentReport:
    """Keep the report; an error or worse is a line in the inbox, one per agent: the latest."""
    with transaction.atomic(durable=True):
        made = AgentReport.objects.create(
            owner_id=caller.owner_id,
            agent_id=caller.agent_id,
            severity=diagnosis.severity,
            message=diagnosis.message,
            code=diagnosis.code,
            platform=diagnosis.platform,
            endpoint=diagnosis.endpoint,
            correlation_id=diagnosis.correlation_id,
            context=diagnosis.context,
            session_id=caller.session_id,
            received_at=now,
        )
        if diagnosis.severity in _LOUD:
            words = "".join(character if character.isprintable() else " " for character in diagnosis.message)
            notify(
                owner_id=caller.owner_id,
                tag=f"{_TAG}{caller.agent_id}",
                title=f"{caller.agent_name} reports ({diagnosis.severity}): {' '.join(words.split())}",
                url="/agent-reports",
                now=now,
            )
        record(
            event=Event.AGENT_REPORTED,
            result=Result.INFO,
            owner_id=caller.owner_id,
            actor=caller.actor,
            now=now,
            request_id=request_id,
            agent_id=caller.agent_id,
            agent_name=caller.agent_name,
            session_id=caller.session_id,
            metadata={  # its words are in the report, which ends; what is here stays for good
                "report_id": str(made.pk),
                "severity": diagnosis.severity,
                "correlation_id": str(diagnosis.correlation_id or ""),
            },
        )
    return made


def unread(*, owner: Owner, limit: int) -> list[AgentReport]:
    """The latest bad news of each agent whose line is in the inbox, newest first."""
    lines = _lines(owner).order_by("-created_at")[:limit]
    agents = [line.tag.removeprefix(_TAG) for line in lines]
    loud = AgentReport.objects.for_owner(owner).filter(agent__in=agents, severity__in=_LOUD)
    latest = loud.order_by("agent_id", "-received_at", "-pk").distinct("agent_id").select_related("agent")
    return sorted(latest, key=lambda found: found.received_at, reverse=True)


def count_unread(*, owner: Owner) -> int:
    """How many agents have bad news in the inbox."""
    return _lines(owner).count()


def mark_read(*, member: Member, report_id: UUID, request_id: UUID, now: datetime) -> AgentReport:
    """Take the agent's line out of the inbox, unless it has reported something newer than this meanwhile.

    Locks: the line.

    Raises:
        NotAllowed: the member is no admin.
        AgentReport.DoesNotExist: not a report to the member's owner.
    """
    if not member.may_administer:
        raise NotAllowed
    with transaction.atomic(durable=True):
        read = AgentReport.objects.for_owner(member.owner).select_related("agent").get(pk=report_id)
        tag = f"{_TAG}{read.agent_id}"
        lines = _lines(member.owner).filter(tag=tag, created_at__lte=read.received_at)
        if lines.select_for_update(of=("self",), no_key=True).first() is None:
            return read
        withdraw(owner_id=member.owner_id, tag=tag, now=now)
        record(
            event=Event.AGENT_REPORT_READ,
            result=Result.INFO,
            owner_id=member.owner_id,
            actor=Actor("member", str(member.user_id), member.user.email),
            now=now,
            request_id=request_id,
            agent_id=read.agent_id,
            agent_name=read.agent.name,
            metadata={"report_id": str(read.pk)},
        )
    return read


def prune(*, now: datetime) -> None:
    """Forget reports of long ago, read or not. That there was one stays on record."""
    before = now - _KEPT
    Notification.objects.filter(tag__startswith=_TAG, created_at__lt=before, withdrawn_at=None).update(withdrawn_at=now)
    AgentReport.objects.filter(received_at__lt=before).delete()


def _lines(owner: Owner) -> QuerySet[Notification]:
    return Notification.objects.filter(owner=owner, tag__startswith=_TAG, withdrawn_at=None)
