"""Who calls and who decides: users, owners (the tenants), members with their roles, agents with their keys."""

import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models.functions import Lower

import agents.delegate_model
import agents.passkey_models
import agents.people_models  # noqa: F401 - and those

INVITE_LIFETIME = timedelta(minutes=30)


class UserManager(BaseUserManager["User"]):
    """Makes users whose login is an e-mail address; addresses differ by more than upper and lower case."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        user = self.model(email=email.strip().lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email__iexact=username or "")


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in. What the person may do is said by `Member`; `is_staff` opens /admin."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_lower_unique")]

    def __str__(self) -> str:
        return self.email

    def inspected_owner_ids(self) -> list[uuid.UUID] | None:
        """The owners whose history this person may look into at /admin; None for every one."""
        if self.is_superuser:
            return None
        return [
            member.owner_id
            for member in Member.objects.filter(user=self).order_by("pk")
            if member.role in {Role.ADMIN, Role.AUDITOR}
        ]


class Owner(models.Model):
    """The account (tenant) whose agents, connections, approvals and audit rows these are; `owner_id` on the wire."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, unique=True)
    approval_lifetime = models.PositiveIntegerField(null=True, blank=True, help_text="Seconds; empty: as configured")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(approval_lifetime__range=(60, 43_200)), name="owner_approval_lifetime_bounds"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    ADMIN = "admin", "Admin"
    APPROVER = "approver", "Approver"
    AUDITOR = "auditor", "Auditor"


class MemberQuerySet(models.QuerySet["Member"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)


class Member(models.Model):
    """A user's place with an owner."""

    owner = models.ForeignKey(Owner, models.CASCADE, related_name="members")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[MemberQuerySet] = MemberQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "user"], name="member_owner_user_unique")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"

    @property
    def may_decide(self) -> bool:
        """Whether this role approves and denies; an auditor only reads."""
        return self.role in {Role.ADMIN, Role.APPROVER}

    @property
    def may_administer(self) -> bool:
        """Whether this role adds, suspends and revokes agents."""
        return self.role == Role.ADMIN

    @property
    def may_audit(self) -> bool:
        """Whether this role has the audit log checked; every role reads it."""
        return self.role in {Role.ADMIN, Role.AUDITOR}


def new_agent_id() -> str:
    return f"agt_{secrets.token_hex(12)}"


class AgentStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    REVOKED = "revoked", "Revoked"


class AgentKind(models.TextChoices):
    """What the program says it is (`agent_type` on the wire)."""

    CLAUDE_CODE = "claude-code", "Claude Code"
    CLAUDE_DESKTOP = "claude-desktop", "Claude Desktop"
    CODEX_DESKTOP = "codex-desktop", "Codex Desktop"
    CODEX_CLI = "codex-cli", "Codex CLI"
    CURSOR_IDE = "cursor-ide", "Cursor"
    CURSOR_AGENT_CLI = "cursor-agent-cli", "Cursor Agent CLI"
    FACTORY_DROID = "factory-droid", "Factory Droid"
    OPENCLAW = "openclaw", "OpenClaw"
    UNKNOWN = "unknown", "Unknown"


class AgentQuerySet(models.QuerySet["Agent"]):
    def for_owner(self, owner: Owner) -> Self:
        return self.filter(owner=owner)

    def roots(self) -> Self:
        """Agents with an identity of their own, without the children they minted."""
        return self.filter(parent=None)


class Agent(models.Model):
    """A calling program. A root agent holds a private key, of which we hold the public half; a child a bearer token."""

    id = models.CharField(primary_key=True, max_length=40, default=new_agent_id, editable=False)
    owner = models.ForeignKey(Owner, models.CASCADE, related_name="agents")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=1000, blank=True, default="", db_default="")
    kind = models.CharField(
        max_length=40, choices=AgentKind.choices, default=AgentKind.UNKNOWN, db_default=AgentKind.UNKNOWN
    )
    status = models.CharField(max_length=20, choices=AgentStatus.choices, default=AgentStatus.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="The end of a child; a root agent has none")
    last_seen_at = models.DateTimeField(null=True, blank=True)
    stopped_with_all_at = models.DateTimeField(null=True, blank=True, help_text="Suspended then, with all the others")

    objects: ClassVar[AgentQuerySet] = AgentQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "name"], condition=models.Q(parent=None), name="agent_owner_name_unique"
            ),
            models.CheckConstraint(condition=models.Q(status__in=AgentStatus.values), name="agent_status_known"),
            models.CheckConstraint(
                condition=models.Q(parent=None, expires_at=None)
                | models.Q(parent__isnull=False, expires_at__isnull=False),
                name="agent_child_expires",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


class AgentKey(models.Model):
    """An RS256 public key of an agent. Two may be active while one takes over from the other."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="keys")
    public_key_pem = models.TextField()
    thumbprint = models.CharField(max_length=43, help_text="RFC 7638, SHA-256, base64url")
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "thumbprint"], name="agentkey_thumbprint_unique")]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.thumbprint}"


class InviteKind(models.TextChoices):
    BIND = "bind", "Bind secret (bsec_…): earlier keys end at once"
    INSTALL = "install", "Install token (itok_…): the earlier key stays for an overlap"


class Invite(models.Model):
    """A one-time secret with which an agent that made its own key pair hands in the public half."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="invites")
    kind = models.CharField(
        max_length=20, choices=InviteKind.choices, default=InviteKind.BIND, db_default=InviteKind.BIND
    )
    secret_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the secret itself is not kept")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(kind__in=InviteKind.values), name="invite_kind_known")]

    def __str__(self) -> str:
        return f"invite for {self.agent_id}"

    def is_open(self, now: datetime) -> bool:
        return self.used_at is None and now < self.expires_at


class CliLogin(models.Model):
    """A person has let a command line in; the code that the browser carries back to it opens the session, once."""

    member = models.ForeignKey(Member, models.CASCADE, related_name="cli_logins")
    state_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256 of what the command line made up")
    code_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the code itself is not kept")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"command line of {self.member_id}"


class CliToken(models.Model):
    """The session of a command line: it acts as the member, with the role the member has at that moment."""

    member = models.ForeignKey(Member, models.CASCADE, related_name="cli_tokens")
    token_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256; the token itself is not kept")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"command line of {self.member_id}"
