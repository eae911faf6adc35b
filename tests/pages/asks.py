"""What agents put before an owner, through the functions that the agent API calls; and pressing the answers."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.test import Client
from django.utils import timezone

from agents.authentication import Caller
from agents.lifecycle import create_agent
from agents.models import Agent, AgentStatus
from audit.events import Actor
from notifications import reports, uninstalls
from notifications.models import AgentReport, Severity, UninstallRequest
from notifications.reports import Diagnosis
from platforms import access, registrations
from platforms.asks import AccessRequest, Registration
from platforms.grants import Change, give
from platforms.models import Grant, Scope
from tests.pages.scene import Scene

_HOSTS = count()  # one network may not take all places
ASKED = [{"platform": "acme-chat", "scopes": ["chat:write"]}]


def caller(agent: Agent) -> Caller:
    return Caller(agent_id=agent.pk, agent_name=agent.name, owner_id=agent.owner_id, status=agent.status, session_id="")


def moment(now: datetime | None = None) -> dict[str, Any]:
    return {"request_id": uuid4(), "now": now or timezone.now()}


def register(
    scene: Scene,
    name: str = "newcomer",
    *,
    requested: Any = ASKED,
    description: str = "",
    address: str = "",
    now: datetime | None = None,
) -> Registration:
    """A program asks to be let in."""
    applicant = registrations.Applicant(
        owner_id=scene.owner.pk,
        name=name,
        description=description,
        requested=[dict(entry) for entry in requested],
        address=address or f"192.0.2.{next(_HOSTS) % 250 + 1}",
    )
    return registrations.register(applicant=applicant, **moment(now))[0]


def ask_access(
    scene: Scene,
    scope: str = "chat:admin",
    *,
    platform: str = "acme-chat",
    reason: str = "",
    agent: Agent | None = None,
) -> AccessRequest:
    return access.ask(caller=caller(agent or scene.agent), platform=platform, scope=scope, reason=reason, **moment())


def ask_uninstall(scene: Scene, *, reason: str = "", agent: Agent | None = None) -> UninstallRequest:
    agent = agent or scene.agent
    uninstalls.ask(caller=caller(agent), reason=reason, **moment())
    return UninstallRequest.objects.get(agent=agent, status="pending")


def report(
    scene: Scene,
    message: str = "The chat answers 503 all the time.",
    *,
    severity: Severity = Severity.ERROR,
    agent: Agent | None = None,
    now: datetime | None = None,
    **more: Any,
) -> AgentReport:
    diagnosis = Diagnosis(severity=severity, message=message, **more)
    return reports.report(caller=caller(agent or scene.agent), diagnosis=diagnosis, **moment(now))


def add_scope(scene: Scene, name: str = "chat:admin", *, platform: str = "acme-chat") -> Scope:
    return Scope.objects.create(platform=scene.owner.platforms.get(slug=platform), name=name, rules=["* /admin/**"])


def grant(scene: Scene, name: str = "chat:write", *, agent: Agent | None = None) -> Grant:
    return Grant.objects.get(agent=agent or scene.agent, scope__name=name, revoked_at=None)


def add_child(scene: Scene, name: str = "helper", *, lifetime: timedelta = timedelta(minutes=15)) -> Agent:
    """A child of the scene's agent with what its parent may do."""
    actor = Actor("agent", scene.agent.pk, scene.agent.name)
    stamp = moment()
    with transaction.atomic():
        child = create_agent(
            owner_id=scene.owner.pk,
            name=name,
            status=AgentStatus.ACTIVE,
            actor=actor,
            parent_id=scene.agent.pk,
            expires_at=stamp["now"] + lifetime,
            **stamp,
        )
        for held in Grant.objects.filter(agent=scene.agent, revoked_at=None).select_related("scope__platform"):
            give(
                agent=child,
                scope=held.scope,
                require_approval=held.require_approval,
                parent=held,
                expires_at=child.expires_at,
                change=Change(actor=actor, **stamp),
            )
    return child


def told(client: Client, response: Any, *, at: str = "/notifications", status: int = 303) -> str:
    """Where a button leads, read: the page with the sentence. Nothing but a redirect with STATUS to AT will do."""
    assert (response.status_code, response.headers.get("Location", "").split("#")[0].split("?")[0]) == (status, at)
    return client.get(at).content.decode()
