"""The push service in its own process, seen from tests: devices that subscribe there, and what they were pushed."""

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.models import Member
from notifications import devices
from notifications.devices import PushDevice, Subscription
from notifications.push import application_server_key

_FAKE = Path(__file__).parent / "fakes" / "push_service.py"


@dataclass
class PushService:
    """The fake of tests/fakes/push_service.py."""

    port: int
    folder: Path

    @property
    def bundle(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def received(self) -> list[dict[str, Any]]:
        """What it was sent since the test began."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]

    @property
    def messages(self) -> list[dict[str, str]]:
        """What devices can read of it."""
        return [one["message"] for one in self.received]

    def post(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(f"https://localhost:{self.port}{path}", json.dumps(body).encode())
        context = ssl.create_default_context(cafile=self.bundle)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return json.loads(answer.read() or b"null")

    def subscription(self, *, behaviour: str = "201", key: str = "") -> dict[str, str]:
        """What a browser's PushManager.subscribe hands out, flat: endpoint, p256dh, auth."""
        made: dict[str, str] = self.post("/subscribe", {"key": key or application_server_key(), "behaviour": behaviour})
        return made

    def device(self, member: Member, *, name: str = "Phone", behaviour: str = "201") -> PushDevice:
        """A device of the member's."""
        return devices.subscribe(
            member=member,
            subscription=Subscription.read(**self.subscription(behaviour=behaviour)),
            name=name,
            request_id=uuid4(),
            now=timezone.now(),
        )

    def behave(self, device: PushDevice, behaviour: str) -> None:
        self.post(f"/behave/{device.endpoint.rpartition('/')[2]}/{behaviour}")


@pytest.fixture(scope="session")
def running_push_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PushService]:
    folder = tmp_path_factory.mktemp("push")
    with subprocess.Popen(
        [sys.executable, str(_FAKE), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield PushService(port=int(process.stdout.readline()), folder=folder)
        process.communicate()  # closes its standard input, and it ends


@pytest.fixture
def push_service(running_push_service: PushService, settings: Settings) -> PushService:
    """The service with an empty log; the operator trusts it and lists its address."""
    (running_push_service.folder / "log.jsonl").write_text("")
    settings.PRIVATE_TARGETS = [*settings.PRIVATE_TARGETS, f"localhost:{running_push_service.port}"]
    settings.CA_BUNDLE = running_push_service.bundle
    return running_push_service
