"""Devices that get push notifications: a browser's subscription (RFC 8030) and the member it belongs to."""

import base64
import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import ClassVar, Self
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from django.db import IntegrityError, models, transaction

from agents.models import Member, Owner, Role
from audit.events import Actor, Event, Result
from audit.records import hold_head, record

MOST_DEVICES = 20  # of one member
MAX_ENDPOINT = 2000
_ENDPOINT = re.compile(r"https://[!-~]+")
_SYSTEM = Actor("system", "worker", "AgentValet")


class DeviceQuerySet(models.QuerySet["PushDevice"]):
    def of_member(self, member: Member) -> Self:
        return self.filter(member=member)

    def of_deciders(self, owner_id: UUID) -> Self:
        """The devices of the owner's people who may decide, with their people."""
        return self.filter(
            member__owner_id=owner_id, member__role__in=[Role.ADMIN, Role.APPROVER], member__user__is_active=True
        ).select_related("member__user")


class PushDevice(models.Model):
    """One browser's subscription. `endpoint` and the two keys come from it; they let us send, and nobody read."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    member = models.ForeignKey(Member, models.CASCADE, related_name="push_devices")
    name = models.CharField(max_length=100)
    endpoint = models.CharField(max_length=MAX_ENDPOINT)
    endpoint_hash = models.BinaryField(max_length=32, unique=True, help_text="SHA-256 of the endpoint")
    public_key = models.BinaryField(max_length=65, help_text="p256dh: a point on P-256, uncompressed")
    auth_secret = models.BinaryField(max_length=16)
    created_at = models.DateTimeField()
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_failure_at = models.DateTimeField(null=True, blank=True)
    last_failure = models.CharField(max_length=300, blank=True)

    objects: ClassVar[DeviceQuerySet] = DeviceQuerySet.as_manager()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.name

    @property
    def mark(self) -> str:
        """By which a page finds out whether it runs on this device: the endpoint's hash, hex."""
        return bytes(self.endpoint_hash).hex()


class SubscriptionRefused(ValueError):
    """Not a subscription that can be used. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a browser's PushManager hands out, read and checked."""

    endpoint: str
    public_key: bytes
    auth_secret: bytes

    @classmethod
    def read(cls, *, endpoint: str, p256dh: str, auth: str) -> Self:
        """Raises SubscriptionRefused. Where the endpoint leads is checked when something is sent there."""
        if not _is_address(endpoint):
            raise SubscriptionRefused("The browser’s push service has no address that can be used.")
        public_key, auth_secret = _unbase64(p256dh), _unbase64(auth)
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        except ValueError:
            public_key = b""
        if len(public_key) != 65 or len(auth_secret) != 16:
            raise SubscriptionRefused("The browser’s keys cannot be used.")
        return cls(endpoint=endpoint, public_key=public_key, auth_secret=auth_secret)


def _is_address(endpoint: str) -> bool:
    try:
        target = urlsplit(endpoint)
    except ValueError:
        return False
    odd = "@" in target.netloc or "#" in endpoint or "\\" in endpoint
    return bool(_ENDPOINT.fullmatch(endpoint) and target.hostname and not odd and len(endpoint) <= MAX_ENDPOINT)


def _unbase64(text: str) -> bytes:
    """base64url with or without padding; b"" for what is not."""
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""


def subscribe(*, member: Member, subscription: Subscription, name: str, request_id: UUID, now: datetime) -> PushDevice:
    """Push to this browser from now on, as the member's device; it leaves the member who had it before.

    Locks: the member, then the device's row.

    Raises:
        SubscriptionRefused: somebody else's endpoint (its keys are other ones), one device too many, or a role that
            decides nothing.
    """
    if not member.may_decide:
        raise SubscriptionRefused("Your role decides nothing, so there is nothing to notify you of.")
    name = " ".join("".join(one if one.isprintable() else " " for one in name).split())[:100] or "A browser"
    once = partial(_subscribe, member, subscription, name, request_id=request_id, now=now)
    try:
        return once()
    except IntegrityError:  # another member's page was first with this browser; now its row is there to be locked
        return once()


def _subscribe(member: Member, subscription: Subscription, name: str, *, request_id: UUID, now: datetime) -> PushDevice:
    digest = hashlib.sha256(subscription.endpoint.encode()).digest()
    rows = PushDevice.objects.select_related("member__owner", "member__user")
    with transaction.atomic(durable=True):
        Member.objects.select_for_update(no_key=True).get(pk=member.pk)
        known = rows.select_for_update(of=("self",), no_key=True).filter(endpoint_hash=digest).first()
        if known is not None and not _same_keys(known, subscription):
            raise SubscriptionRefused("This address of a push service is known with other keys.")
        changes_hands = known is not None and known.member_id != member.pk
        if (known is None or changes_hands) and PushDevice.objects.of_member(member).count() >= MOST_DEVICES:
            raise SubscriptionRefused(f"You have {MOST_DEVICES} devices already: delete one first.")
        log = partial(_record, now=now, request_id=request_id)
        if known is not None and changes_hands:
            former = known.member.owner
            for owner_id in sorted({former.pk, member.owner_id}):  # in one order everywhere
                hold_head(owner_id)
            by = _actor(member) if former.pk == member.owner_id else _SYSTEM  # no owner reads of another's people
            log(Event.PUSH_UNSUBSCRIBED, known, owner=former, actor=by)
        device = known or PushDevice(endpoint=subscription.endpoint, endpoint_hash=digest, created_at=now)
        device.member, device.name = member, name
        device.public_key, device.auth_secret = subscription.public_key, subscription.auth_secret
        device.save()
        log(Event.PUSH_SUBSCRIBED, device, owner=member.owner, actor=_actor(member))
    return device


def forget(*, member: Member, device_id: UUID, request_id: UUID, now: datetime) -> PushDevice:
    """Raises PushDevice.DoesNotExist: not a device of the member's."""
    with transaction.atomic(durable=True):
        device = PushDevice.objects.of_member(member).select_for_update().get(pk=device_id)
        _record(
            Event.PUSH_UNSUBSCRIBED, device, owner=member.owner, actor=_actor(member), now=now, request_id=request_id
        )
        PushDevice.objects.filter(pk=device.pk).delete()
    return device


def drop(device: PushDevice, *, now: datetime) -> None:
    """Its push service knows it no longer (RFC 8030, section 7.3)."""
    with transaction.atomic(durable=True):
        if PushDevice.objects.filter(pk=device.pk).delete()[0]:
            _record(Event.PUSH_DROPPED, device, owner=device.member.owner, actor=_SYSTEM, now=now)


def note_success(device: PushDevice, *, now: datetime) -> None:
    PushDevice.objects.filter(pk=device.pk).update(last_success_at=now, last_failure="")


def note_failure(device: PushDevice, *, failure: str, now: datetime) -> None:
    PushDevice.objects.filter(pk=device.pk).update(last_failure_at=now, last_failure=failure[:300])


def _same_keys(device: PushDevice, subscription: Subscription) -> bool:
    return bytes(device.public_key) == subscription.public_key and hmac.compare_digest(
        bytes(device.auth_secret), subscription.auth_secret
    )


def _actor(member: Member) -> Actor:
    return Actor("member", str(member.user_id), member.user.email)


def _record(
    event: Event, device: PushDevice, *, owner: Owner, actor: Actor, now: datetime, request_id: UUID | None = None
) -> None:
    record(
        event=event,
        result=Result.INFO,
        owner_id=owner.pk,
        actor=actor,
        now=now,
        request_id=request_id,
        metadata={
            "device_id": str(device.pk),
            "device": device.name,
            "member": device.member.user.email,
            "push_service": urlsplit(device.endpoint).hostname,
        },
    )
