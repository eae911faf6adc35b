"""What an owner's people have to answer, and what they see of an agent: reading only, ready for templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from agents.models import Agent, AgentKey, AgentStatus, Invite, Owner
from notifications.models import AgentReport, UninstallRequest
from notifications.reports import count_unread, unread
from platforms.asks import AccessRequest, AccessStatus, Registration
from platforms.models import Connection, Grant, Scope

MOST = 50  # of one kind on a page, oldest first; the rest moves up
MOST_OFFERED = 200  # scopes with a box to tick on one card
MOST_MISSING = 20  # of what a program asks for in vain
MOST_RETIRED = 5  # keys that no longer sign


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedScope:
    name: str
    is_asked: bool  # by name, so it is picked to begin with

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Scopes of one of the owner's platforms that a program asks for."""

    platform: str
    scopes: list[OfferedScope]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationCard:
    registration: Registration
    offers: list[Offer]
    missing: list[str]  # asked for, and nothing that the owner has
    more: int  # asked for beyond what the card shows

    @property
    def platform_count(self) -> int:
        return sum(any(scope.is_asked for scope in offer.scopes) for offer in self.offers)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCard:
    """`scopes`: what the owner may grant instead; empty where the wish names a scope of the owner's, or no platform.

    `held`: what the agent has of that already. Approving keeps its connection and its end.
    """

    request: AccessRequest
    can_grant: bool
    scopes: list[str]
    held: list[Grant]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    registrations: list[RegistrationCard]
    access: list[AccessCard]
    uninstalls: Sequence[UninstallRequest]
    reports: Sequence[AgentReport]
    count: int

    @property
    def hidden(self) -> int:
        """What waits beyond this page."""
        shown = len(self.registrations) + len(self.access) + len(self.uninstalls) + len(self.reports)
        return max(0, self.count - shown)


def inbox(*, owner: Owner, now: datetime) -> Inbox:
    return Inbox(
        registrations=registration_cards(owner=owner, now=now),
        access=_access_cards(owner),
        uninstalls=list(_uninstalls(owner, now).select_related("agent").order_by("created_at")[:MOST]),
        reports=unread(owner=owner, limit=MOST),
        count=count_inbox(owner=owner, now=now),
    )


def count_inbox(*, owner: Owner, now: datetime) -> int:
    """How many things wait for an answer."""
    return (
        count_registrations(owner=owner, now=now)
        + _access(owner).count()
        + _uninstalls(owner, now).count()
        + count_unread(owner=owner)
    )


def count_registrations(*, owner: Owner, now: datetime) -> int:
    return Registration.objects.for_owner(owner).waiting(now).count()


def registration_cards(*, owner: Owner, now: datetime) -> list[RegistrationCard]:
    """Programs that ask to become agents, oldest first."""
    waiting = Registration.objects.for_owner(owner).waiting(now).order_by("created_at", "pk")[:MOST]
    rows = list(waiting)
    slugs = {entry["platform"] for row in rows for entry in row.requested}
    scopes = _scopes(owner, slugs)
    return [_registration_card(row, scopes) for row in rows]


def grants_of(*, agent: Agent, now: datetime) -> list[tuple[Grant, str]]:
    """The agent's grants by platform and scope, each with the reason why it does not count at this moment, or ""."""
    grants = Grant.objects.for_agent(agent.pk).filter(revoked_at=None)
    current = set(Grant.objects.for_agent(agent.pk).current(now).values_list("pk", flat=True))
    rows = (
        grants.select_related("scope__platform", "connection")
        .defer("connection__credential_wrapped_key", "connection__credential_ciphertext")
        .order_by("scope__platform__slug", "scope__name")
    )
    return [(row, "" if row.pk in current else _why_not(row, now)) for row in rows]


def keys_of(*, agent: Agent, now: datetime) -> list[AgentKey]:
    """Keys that sign, newest first, and a few that did."""
    keys = AgentKey.objects.filter(agent=agent).order_by("-pk")
    signing = keys.filter(Q(retired_at=None) | Q(retired_at__gt=now))
    return [*signing, *keys.filter(retired_at__lte=now)[:MOST_RETIRED]]


def open_invite_of(*, agent: Agent, now: datetime) -> Invite | None:
    return Invite.objects.filter(agent=agent, used_at=None, expires_at__gt=now).first()


def live_children_of(*, agent: Agent, now: datetime) -> QuerySet[Agent]:
    return Agent.objects.filter(parent=agent, expires_at__gt=now).exclude(status=AgentStatus.REVOKED).order_by("-pk")


def grantable(*, owner: Owner) -> tuple[dict[str, list[str]], dict[str, list[Connection]]]:
    """Scopes and connections of every platform of the owner, by platform id."""
    scopes = _scopes(owner, None)
    connections: dict[str, list[Connection]] = {}
    rows = Connection.objects.for_owner(owner).select_related("platform").order_by("platform__slug", "label")
    for row in rows.only("label", "platform__slug"):
        connections.setdefault(row.platform.slug, []).append(row)
    return scopes, connections


def offered_scopes(*, owner: Owner) -> QuerySet[Scope]:
    """Every scope of the owner's, by platform, for people to choose from."""
    rows = Scope.objects.filter(platform__owner=owner).select_related("platform")
    return rows.order_by("platform__slug", "name")


def just_taken(*, agent: Agent, grant_id: int) -> Grant | None:
    """A permission that was revoked and can be given as it was; None if it is held again."""
    rows = Grant.objects.for_agent(agent.pk).exclude(revoked_at=None)
    grant = rows.select_related("scope__platform", "connection").filter(pk=grant_id).first()
    if grant is None or Grant.objects.for_agent(agent.pk).filter(scope=grant.scope_id, revoked_at=None).exists():
        return None
    return grant


def _access(owner: Owner) -> QuerySet[AccessRequest]:
    pending = AccessRequest.objects.for_owner(owner).filter(status=AccessStatus.PENDING)
    return pending.exclude(agent__status=AgentStatus.REVOKED)


def _uninstalls(owner: Owner, now: datetime) -> QuerySet[UninstallRequest]:
    return UninstallRequest.objects.for_owner(owner).pending(now).exclude(agent__status=AgentStatus.REVOKED)


def _access_cards(owner: Owner) -> list[AccessCard]:
    rows = list(_access(owner).select_related("agent").order_by("created_at", "pk")[:MOST])
    scopes = _scopes(owner, {row.platform for row in rows})
    held = _held(rows)
    cards = []
    for row in rows:
        known = scopes.get(row.platform, [])
        offered = [] if row.scope in known else known[:MOST_OFFERED]
        mine = held.get((row.agent_id, row.platform), [])
        shown = [grant for grant in mine if grant.scope.name in (offered or [row.scope])]
        cards.append(AccessCard(request=row, can_grant=bool(known), scopes=offered, held=shown))
    return cards


def _held(rows: list[AccessRequest]) -> dict[tuple[str, str], list[Grant]]:
    """What the agents have of the platforms that they ask for, run out or not, by agent and platform."""
    agents, slugs = {row.agent_id for row in rows}, {row.platform for row in rows}
    grants = Grant.objects.filter(agent__in=agents, scope__platform__slug__in=slugs, revoked_at=None)
    found: dict[tuple[str, str], list[Grant]] = {}
    for grant in (
        grants.select_related("scope__platform", "connection")
        .defer("connection__credential_wrapped_key", "connection__credential_ciphertext")
        .order_by("scope__name")
    ):
        found.setdefault((grant.agent_id, grant.scope.platform.slug), []).append(grant)
    return found


def _scopes(owner: Owner, platforms: set[str] | None) -> dict[str, list[str]]:
    """Names of the owner's scopes by platform id; None stands for all platforms."""
    rows = Scope.objects.filter(platform__owner=owner).order_by("platform__slug", "name")
    if platforms is not None:
        rows = rows.filter(platform__slug__in=platforms)
    found: dict[str, list[str]] = {}
    for slug, name in rows.values_list("platform__slug", "name"):
        found.setdefault(slug, []).append(name)
    return found


def _registration_card(registration: Registration, scopes: dict[str, list[str]]) -> RegistrationCard:
    offers, missing, room, more = [], [], MOST_OFFERED, 0
    for entry in registration.requested:
        platform, asked = entry["platform"], entry["scopes"]
        known = scopes.get(platform, [])
        offered = [OfferedScope(name=name, is_asked=name in asked) for name in known if name in asked or not asked]
        more += len(offered) - len(offered[:room])
        if offered[:room]:
            offers.append(Offer(platform=platform, scopes=offered[:room]))
        room -= len(offered[:room])
        missing += [f"{platform}:{name}" for name in asked if name not in known] or ([] if known else [platform])
    more += len(missing[MOST_MISSING:])
    return RegistrationCard(registration=registration, offers=offers, missing=missing[:MOST_MISSING], more=more)


def _why_not(grant: Grant, now: datetime) -> str:
    if grant.scope.platform.suspended_at is not None:
        return "the platform is suspended"
    if grant.expires_at is not None and grant.expires_at <= now:
        return "it has run out"
    return "its parent has lost it"
