"""How long a push takes: `make bench-push`, from `POST /v1/actions` until the push service has read it.

Everything is real and in processes of its own: `manage.py up` with its stores, web server and messenger, and the push
service of the tests, which checks and decrypts what it gets, over TLS. One call at a time; both ends read one clock.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path

import django
import jwt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentvalet.settings")
django.setup()  # for the fixtures that come with models; nothing here asks a database

from tests.push_fixtures import PushService  # noqa: E402
from tests.runtime.installation import bare_environment, eventually  # noqa: E402
from tests.runtime.valet import Valet  # noqa: E402
from tests.world import private_key, public_key  # noqa: E402

TARGET = 150.0  # ms, p50
WARM_UP = 10  # calls that are not counted
FILE = """\
owner: Acme
members: [{email: owner@example.com, role: admin, password_env: OWNER_PASSWORD}]
platforms:
  - id: acme-chat
    name: Acme Chat
    base_url: https://chat.example.com
    auth: {type: bearer}
    scopes: {"chat:write": ["POST /**"]}
connections: [{platform: acme-chat, label: Main, default: true, credential_env: ACME_TOKEN}]
agents:
  - name: bot
    public_key_file: bot.pub.pem
    grants: [{platform: acme-chat, scope: "chat:write", require_approval: true}]
"""
KEY = "import django; django.setup(); from notifications.push import application_server_key as key; print(key())"
SUBSCRIBE = """
import json, sys, uuid, django
django.setup()
from django.utils import timezone
from agents.models import Member
from notifications.devices import Subscription, subscribe
made, now = Subscription.read(**json.loads(sys.argv[1])), timezone.now()
subscribe(member=Member.objects.get(), subscription=made, name="Bench", request_id=uuid.uuid4(), now=now)
"""


class Bench(Valet):
    """An installation with one agent that asks and one device that is told."""

    def run(self, script: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=bare_environment(self.env) | {"DJANGO_SETTINGS_MODULE": "agentvalet.settings"},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def prepare(self, service: PushService) -> None:
        (self.top / "bot.pub.pem").write_text(public_key("bench"))
        made = self.provision(FILE, secrets={"OWNER_PASSWORD": "correct horse battery", "ACME_TOKEN": "x"})
        self.agent, self.owner = made["agents"][0]["agent_id"], made["owner_id"]
        self.run(SUBSCRIBE, json.dumps(service.subscription(key=self.run(KEY))))

    def request(self, number: int) -> urllib.request.Request:
        """What the agent is about to send, signed: that takes the agent's time (tens of milliseconds), not ours."""
        now = int(time.time())
        claims = {"agent_id": self.agent, "owner_id": self.owner, "iat": now, "exp": now + 60}
        body = {
            "platform": "acme-chat",
            "scope": "chat:write",
            "method": "POST",
            "endpoint": "/m",
            "data": {"n": number},
        }
        token = jwt.encode(claims, private_key("bench"), algorithm="RS256")
        return urllib.request.Request(
            f"{self.url}/v1/actions",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )


def ask(request: urllib.request.Request) -> str:
    """Send it; the id of the approval that waits."""
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["approval_id"])


def receipt(service: PushService, tag: str) -> float:
    """When the service had read the message about this call; 0 if it has not."""
    return next((float(one["at"]) for one in service.received if one["message"]["tag"] == tag), 0.0)


def measure(bench: Bench, service: PushService, calls: int) -> list[float]:
    """Milliseconds of each call, in order."""
    took = []
    for number in range(calls + WARM_UP):
        request = bench.request(number)
        began = time.time()
        tag = f"approval:{ask(request)}"
        if not eventually(partial(receipt, service, tag)):
            raise SystemExit("A message did not arrive.")
        at = receipt(service, tag)
        took.append((at - began) * 1000)
    return took[WARM_UP:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.push")
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="agentvalet-bench-push-"))
    fake = [sys.executable, str(ROOT / "tests/fakes/push_service.py"), str(folder)]
    bench = Bench()
    with subprocess.Popen(fake, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        service = PushService(port=int(process.stdout.readline()), folder=folder)
        bench.env |= {
            "AGENTVALET_PRIVATE_TARGETS": f"localhost:{service.port}",
            "AGENTVALET_CA_BUNDLE": service.bundle,
            "AGENTVALET_MAX_PENDING": "0",
            "AGENTVALET_ACTIONS_PER_MINUTE": "0",
        }
        try:
            bench.start()
            bench.prepare(service)
            took = sorted(measure(bench, service, options.calls))
        finally:
            bench.remove()
            process.communicate()
    p50, p95 = statistics.median(took), took[int(len(took) * 0.95)]
    print(f"{len(took)} pushes: p50 {p50:.0f} ms, p95 {p95:.0f} ms, slowest {took[-1]:.0f} ms; p50 under {TARGET:.0f}")
    return 0 if p50 < TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
