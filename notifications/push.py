"""Web push: one message to one device, encrypted (RFC 8291) and signed (RFC 8292), and what the push service said.

It goes out through `settings.PUSH_TRANSPORT`: endpoints come from browsers, so the way out has to be the guarded one.
"""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Protocol, cast
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.utils.module_loading import import_string
from joserfc import jws
from joserfc.jwk import ECKey

from notifications import devices, outbox
from notifications.deliveries import ASKING, Delivery, Purpose
from notifications.devices import PushDevice

logger = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds
MAX_PAYLOAD = 3000  # bytes; push services take 4096 with what encryption adds
_WITHDRAWAL_TTL = 3600  # seconds: a device that was away must not show for ever what is settled
_TOKEN_LIFETIME = timedelta(hours=12)  # RFC 8292 allows 24
_LONGEST_WAIT = timedelta(hours=1)
_NOT_MADE = "The message could not be put together; the server's log says why."
_PLAIN_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """What the push service answered."""

    status: int
    retry_after: str


class PushUnreachable(Exception):
    """No answer came. The text is one sentence without the endpoint's path; `for_good` if none ever will."""

    def __init__(self, message: str, *, for_good: bool) -> None:
        super().__init__(message)
        self.for_good = for_good


class Transport(Protocol):
    def __call__(self, *, url: str, headers: Mapping[str, str], body: bytes, timeout: float) -> PushAnswer:
        """POST it, follow no redirect, go to no private address. Raises PushUnreachable."""
        ...


def deliver(*, delivery_id: int, now: datetime) -> None:
    """Send one message, if it is still to be sent, and write down what came of it."""
    delivery = outbox.claim(delivery_id=delivery_id, now=now)
    if delivery is None:
        return
    device = PushDevice.objects.of_deciders(delivery.notification.owner_id).filter(pk=delivery.target).first()
    if device is None and delivery.purpose not in ASKING:  # what it shows is taken away all the same, without names
        device = PushDevice.objects.select_related("member__user").filter(pk=delivery.target).first()
        delivery.notification.body = ""
    if device is None:
        outbox.give_up(delivery, failure="The device was removed, or its owner may not decide any more.")
        return
    try:
        answer = _post(device, delivery, now=now)
    except PushUnreachable as error:
        devices.note_failure(device, failure=str(error), now=now)
        if error.for_good:
            outbox.give_up(delivery, failure=str(error))
        else:
            outbox.failed(delivery, failure=str(error), now=now)
        return
    except Exception:  # a fault of ours: it must not look like a message on its way, nor be tried for ever
        logger.exception("push %s could not be put together", delivery.pk)
        devices.note_failure(device, failure=_NOT_MADE, now=now)
        outbox.failed(delivery, failure=_NOT_MADE, now=now)
        return
    _settle(delivery, device, answer, now=now)


def _settle(delivery: Delivery, device: PushDevice, answer: PushAnswer, *, now: datetime) -> None:
    status = answer.status
    if status in {404, 410}:
        devices.drop(device, now=now)
        outbox.give_up(delivery, failure="The device no longer takes notifications and was removed.")
    elif 200 <= status < 300:
        devices.note_success(device, now=now)
        outbox.arrived(delivery, now=now)
    else:
        failure = f"The push service answered {status}."
        devices.note_failure(device, failure=failure, now=now)
        if status == 429 or status >= 500:
            outbox.failed(delivery, failure=failure, now=now, wait=_wait(answer.retry_after, now))
        else:
            outbox.give_up(delivery, failure=failure)


def _post(device: PushDevice, delivery: Delivery, *, now: datetime) -> PushAnswer:
    transport = cast(Transport, import_string(settings.PUSH_TRANSPORT))
    return transport(
        url=device.endpoint,
        headers={
            "TTL": str(_ttl(delivery, now)),
            "Urgency": "normal" if delivery.purpose == Purpose.WITHDRAWAL else "high",
            "Topic": topic_of(delivery.notification.tag),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "Authorization": authorization(device.endpoint, now=now),
        },
        body=encrypt(device, payload_of(delivery)),
        timeout=TIMEOUT,
    )


def payload_of(delivery: Delivery) -> bytes:
    """What the device shows: names only, which are on the lock screen. Nothing of the call's body, no secret."""
    line = delivery.notification
    if delivery.purpose == Purpose.WITHDRAWAL:
        shown = {"title": "Settled", "body": line.body}
    elif delivery.purpose == Purpose.REMINDER:
        shown = {"title": f"Still waiting: {line.title}", "body": line.body}
    else:
        shown = {"title": line.title, "body": line.body}
    content = {"kind": delivery.purpose, "tag": line.tag, "url": line.url, **shown}
    data = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > MAX_PAYLOAD:
        raise ValueError("A notification is too long to be pushed.")
    return data


def topic_of(tag: str) -> str:
    """A later message about the same matter replaces one that the push service still holds (RFC 8030, section 5.4)."""
    return base64.urlsafe_b64encode(hashlib.sha256(tag.encode()).digest()[:24]).decode()


def encrypt(device: PushDevice, payload: bytes) -> bytes:
    from pywebpush import WebPusher  # noqa: PLC0415 - half a second and 40 MB, for the process that sends only

    keys = {"p256dh": _base64url(bytes(device.public_key)), "auth": _base64url(bytes(device.auth_secret))}
    encoded = WebPusher({"endpoint": device.endpoint, "keys": keys}).encode(payload, "aes128gcm")
    return bytes(encoded["body"])


def authorization(endpoint: str, *, now: datetime) -> str:
    """The VAPID token that tells the push service who sends (RFC 8292).

    Not by py_vapid, which refuses contacts with a port or without a dot, and audiences that are IPv6 addresses.
    """
    target = urlsplit(endpoint)
    claims = {
        "aud": f"{target.scheme}://{target.netloc}",
        "exp": int((now + _TOKEN_LIFETIME).timestamp()),
        "sub": settings.PUSH_CONTACT,
    }
    key = ECKey.import_key(_private_key(settings.VAPID_KEY))
    token = jws.serialize_compact({"typ": "JWT", "alg": "ES256"}, json.dumps(claims), key, ["ES256"])
    return f"vapid t={token},k={application_server_key()}"


def application_server_key() -> str:
    """The public half of AGENTVALET_VAPID_KEY as browsers want it: the point, uncompressed, base64url."""
    public = _private_key(settings.VAPID_KEY).public_key()
    return _base64url(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


@lru_cache(maxsize=4)
def _private_key(key: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(base64.b64decode(key)), ec.SECP256R1())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _ttl(delivery: Delivery, now: datetime) -> int:
    """Seconds for which the push service keeps it for a device that is away: no longer than it is of use."""
    expires_at = delivery.notification.expires_at
    if delivery.purpose not in ASKING or expires_at is None:
        return _WITHDRAWAL_TTL
    return max(1, int((expires_at - now).total_seconds()))


def _wait(retry_after: str, now: datetime) -> timedelta | None:
    """Retry-After (RFC 9110, section 10.2.3): seconds, or a date."""
    if _PLAIN_SECONDS.fullmatch(retry_after):
        return min(timedelta(seconds=int(retry_after)), _LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(retry_after)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max(at - now, timedelta()), _LONGEST_WAIT)
    except (ValueError, OverflowError):
        return None
