"""One real installation, provisioned from a file, with the counted platform behind it and the published client in front."""

import json
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from agentvalet import embedded
from tests.runtime.installation import ROOT, bare_environment
from tests.runtime.valet import Valet as Provisioned
from tests.world import CountingPlatform, private_key, public_key

AGENT_PYTHON = ROOT / ".venv-demo" / "bin" / "python"
EMAIL, PASSWORD = "owner@example.com", "correct horse battery"

FILE = """\
owner: Acme
members: [{{email: {email}, role: admin, password_env: OWNER_PASSWORD}}]
platforms:
  - id: acme-chat
    name: Acme Chat
    base_url: {url}
    auth: {{type: bearer}}
    scopes: {{"chat:write": ["POST /**"]}}
connections: [{{platform: acme-chat, label: Main, default: true, credential_env: ACME_TOKEN}}]
agents:
  - name: deploy-bot
    public_key_file: deploy-bot.pub.pem
    grants: [{{platform: acme-chat, scope: "chat:write", require_approval: true}}]
"""


class Valet(Provisioned):
    """An installation with an agent that asks."""

    identity: dict[str, str]

    def introduce(self, platform: CountingPlatform) -> None:
        """Provision the platform, a connection and the agent."""
        (self.top / "deploy-bot.pub.pem").write_text(public_key("functional"))
        (self.top / "deploy-bot.pem").write_text(private_key("functional"))
        made = self.provision(
            FILE.format(email=EMAIL, url=platform.url),
            secrets={"OWNER_PASSWORD": PASSWORD, "ACME_TOKEN": platform.token},
        )
        self.identity = {
            "AGENTVALET_PROXY_URL": self.url,
            "AGENTVALET_AGENT_ID": made["agents"][0]["agent_id"],
            "AGENTVALET_OWNER_ID": made["owner_id"],
            "AGENT_PRIVATE_KEY_PATH": str(self.top / "deploy-bot.pem"),
        }

    def agent_asks(self, endpoint: str = "/api/messages", **data: Any) -> "subprocess.Popen[str]":
        """The published client, waiting in its own process for what comes back."""
        return subprocess.Popen(
            [
                AGENT_PYTHON,
                str(ROOT / "tests/clients/asking_agent.py"),
                json.dumps({"endpoint": endpoint, "data": data}),
            ],
            env=bare_environment(self.identity) | {"HOME": str(self.top)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def minutes_pass(self, minutes: int) -> None:
        """As if everything that has a time of its own and is not settled had begun so much earlier."""
        with embedded.Postgres(data_dir=self.data).connect(database="agentvalet") as connection:
            connection.execute(
                "UPDATE approvals_approvalrequest SET created_at = created_at - %(past)s, expires_at = expires_at - %(past)s,"
                " decided_at = decided_at - %(past)s, execution_started_at = execution_started_at - %(past)s"
                " WHERE executed_at IS NULL AND decision IN ('pending', 'approved')",
                {"past": timedelta(minutes=minutes)},
            )


def answer_of(agent: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the published client got in the end."""
    out, _ = agent.communicate(timeout=90)
    answer: dict[str, Any] = json.loads(out)
    return answer


@pytest.fixture(scope="session")
def valet(running_platform: CountingPlatform) -> Iterator[Valet]:
    if not AGENT_PYTHON.exists():
        pytest.fail("The published client is not installed: run `make demo`.")
    valet = Valet()
    valet.env |= {
        "AGENTVALET_PRIVATE_TARGETS": running_platform.url.removeprefix("http://"),
        "AGENTVALET_APPROVED_TIMEOUT": "4",
    }
    try:
        valet.start()
        valet.introduce(running_platform)
        yield valet
    finally:
        valet.remove()
