"""An owner with people, an agent and a platform, and calls of that agent waiting: built through the real services."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import uuid4

from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.test import Client, override_settings
from django.utils import timezone

from agents.authentication import Caller
from agents.models import Agent, AgentStatus, Member, Owner, Role, User
from approvals import runs, services
from approvals.models import ApprovalRequest
from platforms.models import Connection, ConnectionStatus, Grant, Platform, Scope, credential_aad
from platforms.vault import seal

PASSWORD = "correct horse battery staple"


@dataclass
class Scene:
    owner: Owner
    admin: Member
    approver: Member
    auditor: Member
    agent: Agent

    def submit(
        self,
        data: object = None,
        *,
        text: str | None = None,
        scope: str = "chat:write",
        platform: str = "acme-chat",
        method: str = "POST",
        endpoint: str = "/api/messages",
        reason: str = "",
        address: str | None = "192.0.2.17",
        agent: Agent | None = None,
        now: datetime | None = None,
    ) -> ApprovalRequest:
        """Ask for a call as the agent API does; `data` is sent as JSON, `text` as it is."""
        agent = agent or self.agent
        agent.refresh_from_db()
        approval = services.submit_action(
            caller=Caller(
                agent_id=agent.pk, agent_name=agent.name, owner_id=self.owner.pk, status=agent.status, session_id=""
            ),
            action=services.Action(
                platform=platform,
                scope=scope,
                method=method,
                endpoint=endpoint,
                body=text if text is not None or data is None else json.dumps(data, ensure_ascii=False),
                connection_id=None,
                reason=reason,
            ),
            requester_address=address,
            request_id=uuid4(),
            now=now or timezone.now(),
        )
        assert isinstance(approval, ApprovalRequest)
        return approval

    def add_agent(self, name: str) -> Agent:
        agent = Agent.objects.create(owner=self.owner, name=name, status=AgentStatus.ACTIVE)
        for scope in Scope.objects.filter(platform__owner=self.owner):
            Grant.objects.create(agent=agent, scope=scope, require_approval=True)
        return agent

    def add_platform(self, slug: str, *, base_url: str, connection: str, scopes: dict[str, list[str]]) -> None:
        platform = Platform.objects.create(
            owner=self.owner, slug=slug, name=slug.title(), base_url=base_url, auth={"type": "bearer"}
        )
        for name, rules in scopes.items():
            scope = Scope.objects.create(platform=platform, name=name, rules=rules)
            Grant.objects.create(agent=self.agent, scope=scope, require_approval=True)
        identity = uuid4()
        sealed = seal(f"token-of-{slug}", aad=credential_aad(connection_id=identity, version=1))
        Connection.objects.create(
            id=identity,
            platform=platform,
            label=connection,
            is_default=True,
            status=ConnectionStatus.ACTIVE,
            credential_key_id=sealed.key_id,
            credential_wrapped_key=sealed.wrapped_key,
            credential_ciphertext=sealed.ciphertext,
        )

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


@cache
def _password_hash() -> str:
    return make_password(PASSWORD)  # slow on purpose, so once per session


def make_scene(owner_name: str = "Acme") -> Scene:
    owner = Owner.objects.create(name=owner_name)

    def member(role: Role) -> Member:
        user = User.objects.create(email=f"{role.value}@{owner_name.lower()}.example", password=_password_hash())
        return Member.objects.create(owner=owner, user=user, role=role)

    agent = Agent.objects.create(owner=owner, name="deploy-bot", status=AgentStatus.ACTIVE)
    scene = Scene(owner, member(Role.ADMIN), member(Role.APPROVER), member(Role.AUDITOR), agent)
    scene.add_platform(
        "acme-chat",
        base_url="https://chat.example.com",
        connection="Main workspace",
        scopes={"chat:write": ["* /api/**"]},
    )
    return scene


def signed_in(member: Member, *, enforce_csrf_checks: bool = False) -> Client:
    """A browser of that member, through the session only (the password is slow to check)."""
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    client.force_login(member.user)
    return client


def collect_static(folder: str) -> override_settings:
    """Collect the static files as a deployment does, into FOLDER; to be entered for as long as pages are served."""
    override = override_settings(STATIC_ROOT=folder)
    with override:
        call_command("collectstatic", interactive=False, verbosity=0)
    return override
