"""A house that is lived in: one of everything that the pages can show, for the walk and for the pictures."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from agents import delegates, members
from agents.enrolment import add_key
from agents.lifecycle import suspend
from agents.models import Agent, CliToken, Member, Owner, Role
from agents.onetime import hash_of
from agents.passkey_models import Passkey
from approvals import runs, services
from approvals.envelope import Answer
from approvals.link_tokens import MagicLink
from approvals.models import ApprovalRequest
from approvals.transitions import expire_due
from audit.checkpoints import checkpoint_moved_chains
from audit.events import Actor, Event, Result
from audit.models import AuditEvent
from audit.records import record
from notifications.devices import PushDevice
from notifications.models import Severity
from platforms.models import Connection, Platform, Scope
from tests.pages import asks
from tests.pages.passkeys import Person
from tests.pages.scene import Scene, make_scene
from tests.world import make_connection, make_member, new_token, public_key

LINK = "lnk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


@dataclass
class Town:
    """`stranger` is the only member of another owner, who has nothing. `ids` fill the <…> of routes."""

    scene: Scene
    stranger: Member
    invitation: str
    ids: dict[str, str] = field(default_factory=dict)
    calls: dict[str, ApprovalRequest] = field(default_factory=dict)

    def member(self, role: str) -> Member | None:
        """None for nobody."""
        return self.stranger if role == "stranger" else self.scene.members.get(role)


def make_town(*, lifetime: timedelta = timedelta(hours=12)) -> Town:
    """`lifetime` is how long calls wait for a person: so long that none expires on the way, or as in daily use."""
    scene = make_scene()
    Owner.objects.filter(pk=scene.owner.pk).update(approval_lifetime=lifetime.total_seconds())
    other = Owner.objects.create(name="Elsewhere")
    town = Town(
        scene=scene,
        stranger=make_member(other, "admin@elsewhere.example", Role.ADMIN),
        invitation=_people(scene),
    )
    for member in (*scene.members.values(), town.stranger):
        members.settle_staff(member.user)
    agents = _agents(scene)
    _platforms(scene)
    for agent in agents.values():
        _give_all(scene, agent)
    _calls(town, agents)
    _asks(scene, agents)
    checkpoint_moved_chains(now=timezone.now())
    town.ids |= {
        "approval_id": str(town.calls["refund"].pk),
        "audit_id": str(AuditEvent.objects.filter(owner_id=scene.owner.pk, event="approval.executed").latest("seq").pk),
        "agent_id": scene.agent.pk,
        "connection_id": str(scene.connection.pk),
        "slug": "acme-chat",
        "scope_id": str(Scope.objects.filter(platform=scene.platform).earliest("pk").pk),
        "entry_id": "shopify",
    }
    return town


def _people(scene: Scene) -> str:
    """Names, another browser, a passkey, a phone, a command line, delegates; returns the token of an invitation."""
    now = timezone.now()
    for role, name in (("admin", "Ada Sørensen"), ("approver", "Ben Okafor")):
        scene.members[role].user.name = name
        scene.members[role].user.save(update_fields=["name"])
    Passkey.objects.filter(pk=Person(scene.admin).register("Ada’s phone").pk).update(last_used_at=now)
    # The approver has none: their cards have the plain buttons.
    PushDevice.objects.create(
        member=scene.admin, name="Firefox on Linux", endpoint="https://push.example/1", endpoint_hash=b"1" * 32,
        public_key=b"1" * 65, auth_secret=b"1" * 16, created_at=now - timedelta(days=12),
    )  # fmt: skip
    CliToken.objects.create(
        member=scene.admin, token_hash=b"1" * 32, created_at=now, expires_at=now + timedelta(days=30)
    )
    for number, email in enumerate(("dana@partner.example", "elif@partner.example")):
        delegate = delegates.add(member=scene.admin, email=email, request_id=uuid4(), now=now)
        if number:
            delegates.set_active(member=scene.admin, delegate_id=delegate.pk, active=False, request_id=uuid4(), now=now)
    return members.invite(
        member=scene.admin, email="grace@acme.example", role=Role.APPROVER, request_id=None, now=now
    ).token


def _agents(scene: Scene) -> dict[str, Agent]:
    now = timezone.now()
    for key in ("deploy-bot", "deploy-bot, the one before"):
        add_key(agent=scene.agent, pem=public_key(key))
    Agent.objects.filter(pk=scene.agent.pk).update(
        description="Announces releases in the chat and tidies up branches.", last_seen_at=now - timedelta(minutes=3)
    )
    scene.agent.refresh_from_db()
    made = {"deploy-bot": scene.agent}
    for name, hours in (("support-agent", 1), ("invoice-reader", 50)):
        made[name] = scene.add_agent(name)
        Agent.objects.filter(pk=made[name].pk).update(last_seen_at=now - timedelta(hours=hours))
    retired = scene.add_agent("night-report")
    suspend(member=scene.admin, agent_id=retired.pk, reason="Its job has ended.", request_id=uuid4(), now=now)
    return made


def _platforms(scene: Scene) -> None:
    now = timezone.now()
    Platform.objects.filter(pk=scene.platform.pk).update(
        category="Communication", test_call={"method": "GET", "endpoint": "/me", "body": None, "identity": {}}
    )
    Connection.objects.filter(pk=scene.connection.pk).update(
        status="active", last_used_at=now, identity={"display_name": "Deploy Bot", "email": "bots@acme.example"}
    )
    asks.add_scope(scene)
    for name, covers in (("chat:write", "Post, change and delete messages"), ("chat:admin", "Manage channels")):
        Scope.objects.filter(platform=scene.platform, name=name).update(covers=covers)
    Scope.objects.filter(name="chat:admin").update(step_up="passkey")
    scene.add_platform(
        "github",
        base_url="https://api.github.com",
        connection="acme organisation",
        scopes={"contents:write": ["* /repos/**"], "issues:read": ["GET /repos/*/*/issues/**"]},
    )
    scene.add_platform(
        "stripe", base_url="https://api.stripe.com", connection="Live", scopes={"refunds:write": ["POST /v1/refunds"]}
    )
    stripe = scene.owner.platforms.get(slug="stripe")
    Platform.objects.filter(pk=stripe.pk).update(category="Payments")
    test = make_connection(stripe, new_token(), label="Test mode", default=False)
    Connection.objects.filter(pk=test.pk).update(
        status="reauth_needed", require_approval=True, hint="For trying things out; no money moves here."
    )


def _give_all(scene: Scene, agent: Agent) -> None:
    held = set(agent.grants.values_list("scope_id", flat=True))
    if agent.name == "invoice-reader":
        agent.grants.filter(scope__name="refunds:write").delete()  # it asks for that one
        held |= set(Scope.objects.filter(name="refunds:write").values_list("pk", flat=True))
    for scope in Scope.objects.filter(platform__owner=scene.owner).exclude(pk__in=held):
        agent.grants.create(scope=scope, require_approval=not scope.name.endswith("read"))


def _calls(town: Town, agents: dict[str, Agent]) -> None:
    """Ended ones first; then what waits, the one that ends first on top, and one that is on its way."""
    scene, now = town.scene, timezone.now()
    calls = town.calls

    def decided(approval: ApprovalRequest, *, via: str = "dashboard") -> ApprovalRequest:
        return services.approve(
            member=scene.approver, approval_id=approval.pk, digest=approval.digest, via=via, now=timezone.now()
        )

    calls["finished"] = decided(scene.submit({"channel": "#releases", "text": "Version 4.1 is out."}))
    runs.claim(approval_id=calls["finished"].pk, now=now)
    runs.finish(
        approval_id=calls["finished"].pk, answer=Answer(200, '{"ok":true,"ts":"1764.0021"}'), now=timezone.now()
    )
    calls["failed"] = decided(scene.submit({"channel": "#status", "text": "All systems normal."}))
    scene.fail(calls["failed"], "the platform did not answer in time.")
    calls["unknown"] = scene.lose(scene.submit({"channel": "#ops", "text": "Restarting the database."}))
    calls["denied"] = scene.submit({"channel": "#general", "text": "Good morning, everybody!"})
    services.deny(
        member=scene.approver,
        approval_id=calls["denied"].pk,
        digest=calls["denied"].digest,
        reason="Not in #general, please.",
        via="dashboard",
        now=now,
    )
    calls["expired"] = scene.submit({"channel": "#ops", "text": "Lunch?"}, now=now - timedelta(hours=24))
    expire_due(now=now)
    calls["refund"] = scene.submit(
        {"charge": "ch_3PqX1k2eZvKYlo2C", "amount": 4800, "metadata": {"ticket": "SUP-4411"}},
        platform="stripe",
        scope="refunds:write",
        endpoint="/v1/refunds",
        agent=agents["support-agent"],
        reason="The customer was charged twice for order 20931 and asked for the second charge back.",
        connection_id=Connection.objects.get(label="Live").pk,
        now=now - timedelta(seconds=548),
    )
    calls["announce"] = scene.submit(
        {"channel": "#releases", "text": "Version 4.2 goes out at 15:00 UTC.\nChanges: https://acme.example/4.2"},
        reason="Announce the release",
        now=now - timedelta(seconds=203),
    )
    calls["branch"] = scene.submit(
        platform="github",
        scope="contents:write",
        method="DELETE",
        endpoint="/repos/acme/website/git/refs/heads/old-landing-page",
        reason="The branch is merged",
        now=now - timedelta(seconds=61),
    )
    calls["step-up"] = scene.submit(
        {"name": "incident-2026-11"}, scope="chat:admin", endpoint="/admin/channels", now=now - timedelta(seconds=20)
    )
    calls["processing"] = decided(scene.submit({"channel": "#ops", "text": "Backup has finished."}))
    MagicLink.objects.create(
        approval=calls["announce"],
        delegate=scene.owner.delegates.get(is_active=True),
        token_hash=hash_of(LINK),
        created_at=now,
    )


def _asks(scene: Scene, agents: dict[str, Agent]) -> None:
    asks.add_child(scene, "release-notes")
    asks.register(
        scene,
        "translation-helper",
        requested=[
            {"platform": "acme-chat", "scopes": ["chat:write"]},
            {"platform": "github", "scopes": ["contents:write", "issues:read"]},
        ],
        description="Translates the website and opens a pull request per language.",
    )
    asks.ask_access(scene, "refunds:write", platform="stripe", reason="To send invoices back that were paid twice.",
                    agent=agents["invoice-reader"])  # fmt: skip
    asks.ask_uninstall(scene, reason="The quarter is over; nothing is left to read.", agent=agents["invoice-reader"])
    asks.report(scene, "The chat answers 503 since 14:02.", code="upstream_503", platform="acme-chat",
                endpoint="/api/messages", context='{"tries": 4, "last": "2026-11-22T14:09:31Z"}')  # fmt: skip
    asks.report(scene, "Searching tickets takes 8 s.", severity=Severity.WARN, agent=agents["support-agent"])


def overflow(town: Town) -> None:
    """More of everything, as long and as hostile as it can be: what has to fit all the same."""
    scene = town.scene
    scene.submit({"text": f"{'long' * 80}\u202e\nnext"}, reason="x" * 400)
    scene.submit({"w" * 3000: "w" * 3000, "cards": "🂡" * 300 + "文" * 300, "marks": "a" + "\u0301" * 500})
    scene.submit(text=f"[{'[],' * 50_000}[]]")  # too long for the list, and for laying out
    again, _ = services.send_again(
        member=scene.approver,
        approval_id=town.calls["unknown"].pk,
        requester_address=None,
        request_id=uuid4(),
        now=timezone.now(),
    )
    town.calls["again"] = again
    asks.add_child(scene, "helper " * 20)
    asked = [{"platform": "acme-chat", "scopes": ["chat:write", "chat:admin", "chat:no"]}]
    asks.register(scene, "Release bot " * 10, requested=asked, description="w" * 900)
    asks.ask_access(scene, "", reason="r" * 400)
    asks.ask_access(scene, "x" * 128, platform="y" * 63)
    asks.ask_uninstall(scene, reason="r" * 400)
    asks.report(
        scene, "m" * 900 + "\u202e", code="c" * 100, endpoint="/" + "e" * 400, context='{"a": "' + "b" * 900 + '"}'
    )
    second = make_connection(scene.platform, new_token(), label="Billing " * 20, default=False)
    Connection.objects.filter(pk=second.pk).update(
        hint="For invoices and nothing else. " * 10,
        identity={"display_name": "Robot " * 20, "email": "robot@acme.example", "account_id": "U" * 60},
    )
    scene.add_platform("z" * 63, base_url=f"https://{'x' * 60}.example.com/{'y' * 80}", connection="org", scopes={})
    make_member(scene.owner, f"{'a' * 60}@{'b' * 60}.example", Role.AUDITOR)
    for result in Result:
        _long_row(scene, result, timezone.now())
    checkpoint_moved_chains(now=timezone.now())


def _long_row(scene: Scene, result: Result, now: datetime) -> None:
    with transaction.atomic():
        record(
            event=Event.ACTION_DENIED,
            result=result,
            owner_id=scene.owner.pk,
            actor=Actor("agent", scene.agent.pk, "w" * 290),
            now=now,
            agent_id=scene.agent.pk,
            agent_name="n" * 200 + "\u202e",
            platform="p" * 63,
            action="a" * 128,
            reason="r" * 1900,
            session_id="s" * 128,
            metadata={"k" * 300: "v" * 3000, "text": "line\nbreak\u202e"},
        )
