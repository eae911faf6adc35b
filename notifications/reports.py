"""Agents' reports about themselves: kept as they came, on record, and told to people when they are bad news."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from agents.authentication import Caller
from audit.events import Event, Result
from audit.records import record
from notifications.inbox import notify
from notifications.models import AgentReport, Severity

_LOUD = {Severity.ERROR, Severity.CRITICAL}


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
                tag=f"report:{caller.agent_id}",
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
            platform=diagnosis.platform,
            session_id=caller.session_id,
            metadata={
                "report_id": str(made.pk),
                "severity": diagnosis.severity,
                "code": diagnosis.code,
                "correlation_id": str(diagnosis.correlation_id or ""),
            },
        )
    return made
