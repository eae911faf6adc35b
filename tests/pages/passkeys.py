"""A person with a device in front of the pages: what their browser posts, one call for each form."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from agents.models import Member
from agents.passkey_models import Passkey
from approvals.models import ApprovalRequest
from tests.authenticator import Authenticator, Lies, decode, encode
from tests.pages.scene import PASSWORD, signed_in


@dataclass
class Person:
    """A signed-in member with a device."""

    member: Member
    device: Authenticator = field(default_factory=Authenticator)

    def __post_init__(self) -> None:
        self.client: Client = signed_in(self.member, confirmed=False)

    def confirm(self, password: str = PASSWORD) -> Any:
        return self.client.post("/settings/confirm", {"password": password})

    def skip_confirming(self) -> None:
        """As if confirmed just now: checking a password is slow on purpose."""
        session = self.client.session
        session["confirmed_at"] = time.time()
        session.save()

    def register_options(self) -> Any:
        return self.client.post("/settings/passkeys/options")

    def send_new(self, credential: str, label: str = "Phone") -> Any:
        return self.client.post("/settings/passkeys", {"credential": credential, "label": label})

    def register(self, label: str = "Phone", lies: Lies | None = None) -> Passkey:
        """Register, and return what is kept."""
        self.skip_confirming()
        response = self.send_new(self.device.create(self.register_options().json(), lies), label)
        assert response.status_code == 302, response.content.decode()
        return Passkey.objects.filter(user=self.member.user).latest("created_at")


def begin_sign_in(client: Client) -> Any:
    response = client.post("/sign-in/passkey/options")
    assert response.status_code == 200
    return response.json()


def finish_sign_in(client: Client, credential: str, **data: str) -> Any:
    return client.post("/sign-in/passkey", {"credential": credential, **data})


def flipped(credential: str, part: str, bit: int) -> str:
    """The credential with one bit of `clientDataJSON`, `authenticatorData` or `signature` turned over."""
    data = json.loads(credential)
    raw = bytearray(decode(data["response"][part]))
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    data["response"][part] = encode(bytes(raw))
    return json.dumps(data)


FRAGMENT = {"X-Fragment": "1"}


def begin(person: Person, approval: ApprovalRequest, button: str = "approve", digest: str = "") -> Any:
    return person.client.post(f"/approvals/{approval.pk}/{button}/options", {"digest": digest or approval.digest})


def finish(person: Person, approval: ApprovalRequest, credential: str, button: str = "approve", **data: str) -> Any:
    sent = {"digest": approval.digest, "credential": credential} | data
    return person.client.post(f"/approvals/{approval.pk}/{button}", sent, headers=FRAGMENT)


def decide(person: Person, approval: ApprovalRequest, button: str = "approve", lies: Lies | None = None) -> Any:
    """One press of the button, one touch of the device."""
    options = begin(person, approval, button)
    assert options.status_code == 200, options.content
    return finish(person, approval, person.device.get(options.json(), lies), button)
