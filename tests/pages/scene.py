"""A side of `tests.world` as the tests of pages use it: calls that wait, decisions, browsers that are signed in."""

import json
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.test import Client, override_settings
from django.utils import timezone

from agents.models import Agent, AgentStatus, Member
from approvals import runs, services
from approvals.models import ApprovalRequest
from platforms.models import Grant, Platform, Scope
from tests.world import PASSWORD, Side, make_connection, make_side, new_token, submit

__all__ = ["PASSWORD", "Scene", "collect_static", "make_scene", "signed_in"]


class Scene(Side):
    def submit(self, data: object = None, *, text: str | None = None, **change: Any) -> ApprovalRequest:
        """Ask for a call as the agent API does; `data` is sent as JSON, `text` as it is, neither as no body."""
        self.agent.refresh_from_db()
        body = text if text is not None or data is None else json.dumps(data, ensure_ascii=False)
        return submit(self, body=body, **change)

    def add_agent(self, name: str, *, parent: Agent | None = None) -> Agent:
        agent = Agent.objects.create(
            owner=self.owner,
            name=name,
            status=AgentStatus.ACTIVE,
            parent=parent,
            expires_at=timezone.now() + timedelta(hours=1) if parent else None,
        )
        for scope in Scope.objects.filter(platform__owner=self.owner):
            Grant.objects.create(agent=agent, scope=scope, require_approval=True)
        return agent

    def add_platform(self, slug: str, *, base_url: str, connection: str, scopes: dict[str, list[str]]) -> None:
        platform = Platform.objects.create(
            owner=self.owner, slug=slug, name=slug.title(), base_url=base_url, auth={"type": "bearer"}
        )
        make_connection(platform, new_token(), label=connection)
        for name, rules in scopes.items():
            scope = Scope.objects.create(platform=platform, name=name, rules=rules)
            for agent in Agent.objects.filter(owner=self.owner):
                Grant.objects.create(agent=agent, scope=scope, require_approval=True)

    def approve(self, approval: ApprovalRequest, *, member: Member | None = None) -> ApprovalRequest:
        return services.approve(
            member=member or self.admin,
            approval_id=approval.pk,
            digest=approval.digest,
            via="dashboard",
            now=timezone.now(),
        )

    def fail(self, approval: ApprovalRequest, sentence: str) -> None:
        """An approved call that got no answer."""
        runs.fail(approval_id=approval.pk, error=sentence, reason="upstream_timeout", now=timezone.now())

    def lose(self, approval: ApprovalRequest) -> ApprovalRequest:
        """Approve it, and let its worker die after the claim: nobody knows what came of it."""
        self.approve(approval)
        runs.claim(approval_id=approval.pk, now=timezone.now())
        runs.lose(approval_id=approval.pk, error=runs.OUTCOME_UNKNOWN, reason="worker_lost", now=timezone.now())
        return ApprovalRequest.objects.get(pk=approval.pk)


def make_scene(owner_name: str = "Acme") -> Scene:
    """Nothing is sent from here, so the platform is none."""
    side = make_side(
        owner_name,
        base_url="https://chat.example.com",
        token=new_token(),
        agent_name="deploy-bot",
        scopes=[("chat:write", ["* /api/**"], True)],
    )
    return Scene(**vars(side))


def signed_in(member: Member, *, enforce_csrf_checks: bool = False, confirmed: bool = True) -> Client:
    """A browser of that member, through the session only (the password is slow to check).

    `confirmed`: the person has just shown again who they are (`agents.confirming`).
    """
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    client.force_login(member.user)
    if confirmed:
        session = client.session
        session["confirmed_at"] = timezone.now().timestamp()
        session.save()
    return client


def collect_static(folder: str) -> override_settings:
    """Collect the static files as a deployment does, into FOLDER; to be entered for as long as pages are served."""
    override = override_settings(STATIC_ROOT=folder)
    with override:
        call_command("collectstatic", interactive=False, verbosity=0)
    return override
