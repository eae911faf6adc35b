"""Making what a provisioning file says so: in one transaction, on record, and as often as you like.

What the file names is made so. What it does not name is left alone, with one exception: the `grants` of an agent it
names are that agent's whole list, so taking a line out takes the permission away.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from agents.enrolment import add_key, invite
from agents.keys import KeyRefused
from agents.members import settle_staff
from agents.models import Agent, AgentKey, AgentStatus, Member, Owner, User
from agentvalet.provision_file import Document, ProvisionError
from audit.events import JSON, Actor, Event, Result
from audit.records import record
from platforms import stored_credentials
from platforms.credentials import parse_auth
from platforms.definitions import Definition, ScopeDefinition, body_kind_of
from platforms.grants import Change, give, revoke
from platforms.models import CallStyle, Connection, Grant, Platform, Scope
from platforms.refresh_grants import check_stored
from platforms.setup import Details, Outdated, put_connection, put_platform
from platforms.stored_credentials import Intake
from platforms.vault import VaultError

ACTOR = Actor("system", "provision", "manage.py provision")
_TRIES = 10


def provision(text: str, *, base: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Apply the file; `base` is the folder its file names are relative to, `env` where its secrets are.

    Returns what `manage.py provision` prints: ids, and the secrets of fresh invites.

    Raises:
        ProvisionError: something in the file cannot be done; nothing was changed.
    """
    document = Document(text)
    data = document.validated()
    env = os.environ if env is None else env
    for _ in range(_TRIES):
        try:
            intakes = _take_in(data, env)
        except VaultError as error:
            raise ProvisionError([f"The credentials cannot be sealed: {error}"]) from error
        with suppress(Outdated), transaction.atomic(durable=True):
            run = _Run(document=document, base=base, env=env, now=timezone.now(), intakes=intakes)
            made = run.apply(data)
            if run.problems:
                raise ProvisionError(run.problems)
            return made
    raise ProvisionError(["The credentials are being changed by somebody else: run this again."])


def _take_in(data: dict[str, Any], env: Mapping[str, str]) -> dict[tuple[str, str], Intake]:
    """The credentials, sealed, by platform and label: before the transaction, as the key may be across a network."""
    intakes = {}
    for entry in data["connections"]:
        if credential := env.get(entry["credential_env"]):
            stored = Connection.objects.filter(
                platform__owner__name=data["owner"], platform__slug=entry["platform"], label=entry["label"]
            )
            intake = stored_credentials.take_in(stored.first(), credential, keep_renewed=True)
            intakes[entry["platform"], entry["label"]] = intake
    return intakes


class _Run:
    """One application of one file. Problems are collected, so that a person sees all of them at once.

    Audit rows are collected, too, and written when every other row is locked (see `audit.records.record`).
    Locks: owner, the agents named by id, platforms, connections, keys, grants, then the chain head.
    """

    def __init__(
        self,
        *,
        document: Document,
        base: Path,
        env: Mapping[str, str],
        now: datetime,
        intakes: dict[tuple[str, str], Intake],
    ) -> None:
        self.intakes = intakes
        self.document = document
        self.base = base
        self.env = env
        self.now = now
        self.request_id = uuid4()
        self.problems: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def apply(self, data: dict[str, Any]) -> dict[str, Any]:
        self.owner, created = Owner.objects.get_or_create(name=data["owner"])
        if created:
            self.audit(Event.OWNER_CREATED, metadata={"name": self.owner.name})
        self.lock({entry["name"] for entry in data["agents"]})
        for index, entry in enumerate(data["members"]):
            self.member(entry, ("members", index))
        for entry in data["platforms"]:
            self.platform(entry)
        connections = [self.connection(entry, ("connections", i)) for i, entry in enumerate(data["connections"])]
        agents = [self.agent(entry, ("agents", i)) for i, entry in enumerate(data["agents"])]
        for row in self.rows:
            record(**row)
        return {
            "owner_id": str(self.owner.pk),
            "agents": [agent for agent in agents if agent],
            "connections": [connection for connection in connections if connection],
        }

    def lock(self, names: set[str]) -> None:
        """Owner first, then agents by id, as `agents.lifecycle` does."""
        Owner.objects.select_for_update(no_key=True).get(pk=self.owner.pk)
        agents = Agent.objects.for_owner(self.owner).roots().filter(name__in=names).order_by("pk")
        list(agents.select_for_update(of=("self",), no_key=True))

    def problem(self, path: tuple[str | int, ...], sentence: str) -> None:
        self.problems.append(self.document.problem(path, sentence))

    def unknown(self, kind: str, name: str, there: Iterable[object], path: tuple[str | int, ...]) -> None:
        """A name that stands for nothing, with those that stand for something."""
        names = sorted(map(str, there))
        said = f"there are: {', '.join(names)}" if names else "there is none at all"
        self.problem(path, f"There is no {kind} {name}; {said}.")

    def unknown_scope(self, entry: dict[str, Any], path: tuple[str | int, ...]) -> None:
        platforms = Platform.objects.filter(owner=self.owner)
        platform = platforms.filter(slug=entry["platform"]).first()
        if platform is None:
            self.unknown("platform", entry["platform"], platforms, (*path, "platform"))
        else:
            self.unknown(f"scope on {platform} called", entry["scope"], platform.scopes.all(), (*path, "scope"))

    def audit(
        self,
        event: Event,
        *,
        agent: Agent | None = None,
        platform: str = "",
        action: str = "",
        metadata: Mapping[str, JSON] | None = None,
    ) -> None:
        self.write(
            event=event,
            result=Result.INFO,
            owner_id=self.owner.pk,
            actor=ACTOR,
            now=self.now,
            request_id=self.request_id,
            agent_id=agent.pk if agent else "",
            agent_name=agent.name if agent else "",
            platform=platform,
            action=action,
            metadata=metadata,
        )

    def change(self) -> Change:
        return Change(actor=ACTOR, request_id=self.request_id, now=self.now, write=self.write)

    def write(self, **row: Any) -> None:
        """As `audit.records.record`, at the end."""
        self.rows.append(row)

    def secret(self, name: str, path: tuple[str | int, ...]) -> str | None:
        value = self.env.get(name)
        if not value:
            self.problem(path, f"The environment variable {name} is not set: export it and run this again.")
        return value or None

    def member(self, entry: dict[str, Any], path: tuple[str | int, ...]) -> None:
        user = User.objects.filter(email__iexact=entry["email"]).first()
        if user is None:
            if "password_env" not in entry:
                self.problem(path, "password_env is needed: this person has no account yet.")
                return
            password = self.password(entry, (*path, "password_env"))
            if password is None:
                return
            user = User.objects.create_user(entry["email"], password)
        member, created = Member.objects.get_or_create(
            owner=self.owner, user=user, defaults={"role": entry["role"], "created_at": self.now}
        )
        if created:
            self.audit(Event.MEMBER_ADDED, metadata={"email": user.email, "role": member.role})
        elif member.role != entry["role"]:
            self.audit(
                Event.MEMBER_ROLE_CHANGED, metadata={"email": user.email, "from": member.role, "to": entry["role"]}
            )
            member.role = entry["role"]
            member.save(update_fields=["role"])
        settle_staff(user)

    def password(self, entry: dict[str, Any], path: tuple[str | int, ...]) -> str | None:
        """The first password of somebody who has no account, held against AUTH_PASSWORD_VALIDATORS."""
        password = self.secret(entry["password_env"], path)
        if password is None:
            return None
        try:
            validate_password(password, user=User(email=entry["email"]))
        except ValidationError as error:
            self.problem(path, " ".join(error.messages))
            return None
        return password

    def platform(self, entry: dict[str, Any]) -> None:
        definition = Definition(
            slug=entry["id"],
            name=entry["name"],
            base_url=entry["base_url"],
            auth=entry["auth"],
            call_style=entry.get("call_style", CallStyle.REST.value),
            body_kind=body_kind_of(entry["body"]),
            honours_idempotency_key=entry["honours_idempotency_key"],
            category=entry.get("category"),
            scopes=[ScopeDefinition(name=name, **said) for name, said in entry["scopes"].items()],
        )
        put_platform(owner=self.owner, definition=definition, change=self.change())

    def connection(self, entry: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, str] | None:
        platform = Platform.objects.filter(owner=self.owner, slug=entry["platform"]).first()
        if platform is None:
            self.unknown("platform", entry["platform"], Platform.objects.filter(owner=self.owner), (*path, "platform"))
            return None
        credential = self.secret(entry["credential_env"], (*path, "credential_env"))
        if credential is None:
            return None
        try:
            check_stored(parse_auth(platform.auth), credential)
        except ValueError as error:
            self.problem((*path, "credential_env"), str(error))
            return None
        intake = self.intakes.pop((entry["platform"], entry["label"]), None)
        if intake is None:
            self.problem((*path, "label"), "This connection stands twice in the file.")
            return None
        details = Details(
            is_default=entry["default"],
            require_approval=entry["require_approval"],
            hint=entry.get("hint", ""),
            identity=entry.get("identity"),
        )
        connection = put_connection(
            platform=platform, label=entry["label"], intake=intake, details=details, change=self.change()
        )
        return {"platform": platform.slug, "label": connection.label, "connection_id": str(connection.pk)}

    def agent(self, entry: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, str] | None:
        agent, created = Agent.objects.get_or_create(
            owner=self.owner, name=entry["name"], parent=None, defaults={"status": AgentStatus.ACTIVE}
        )
        if created:
            self.audit(Event.AGENT_CREATED, agent=agent)
        made = {"name": agent.name, "agent_id": agent.pk}
        if "public_key_file" in entry:
            self.public_key(agent, entry["public_key_file"], (*path, "public_key_file"))
        elif not AgentKey.objects.filter(agent=agent, retired_at=None).exists():
            made["bind_secret"] = invite(agent=agent, now=self.now)
            self.audit(Event.AGENT_INVITED, agent=agent)
        if "grants" in entry:
            self.grants(agent, entry["grants"], (*path, "grants"))
        return made

    def public_key(self, agent: Agent, file: str, path: tuple[str | int, ...]) -> None:
        try:
            pem = (self.base / file).read_text()
            key, is_new = add_key(agent=agent, pem=pem)
        except OSError as error:
            self.problem(path, f"{self.base / file} cannot be read: {error.strerror}.")
        except (KeyRefused, UnicodeDecodeError) as error:
            self.problem(path, str(error))
        else:
            if is_new:
                self.audit(Event.AGENT_KEY_BOUND, agent=agent, metadata={"thumbprint": key.thumbprint})
            for old in AgentKey.objects.filter(agent=agent, retired_at=None).exclude(pk=key.pk):
                old.retired_at = self.now
                old.save(update_fields=["retired_at"])
                self.audit(Event.AGENT_KEY_RETIRED, agent=agent, metadata={"thumbprint": old.thumbprint})

    def grants(self, agent: Agent, entries: list[dict[str, Any]], path: tuple[str | int, ...]) -> None:
        kept = []
        change = self.change()
        for index, entry in enumerate(entries):
            scope = (
                Scope.objects.select_related("platform")
                .filter(platform__owner=self.owner, platform__slug=entry["platform"], name=entry["scope"])
                .first()
            )
            if scope is None:
                self.unknown_scope(entry, (*path, index))
                continue
            connection = None
            if "connection" in entry:
                stored = Connection.objects.filter(platform=scope.platform_id)
                connection = stored.filter(label=entry["connection"]).first()
                if connection is None:
                    self.unknown("connection", entry["connection"], stored, (*path, index, "connection"))
                    continue
            grant = give(
                agent=agent,
                scope=scope,
                require_approval=entry["require_approval"],
                connection=connection,
                change=change,
            )
            kept.append(grant.pk)
        gone = Grant.objects.filter(agent=agent, revoked_at=None).exclude(pk__in=kept)
        for grant in gone.select_related("agent", "scope__platform"):
            revoke(grant=grant, change=change)
