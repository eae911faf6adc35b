"""The installation of the interop tests: who is there, what they may do, and how a client finds its identity."""

import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import jwt
import yaml

from tests.interop.owner import Owner
from tests.interop.remote import Remote
from tests.runtime.installation import ROOT, bare_environment
from tests.runtime.valet import Valet
from tests.world import CountingPlatform, private_key, public_key

LIFETIME = 30  # seconds until a card expires: clients wait for fifty, and every decision falls well before
EMAIL, PASSWORD = "owner@example.com", "correct horse battery"
# Agents, named after who uses them. A key can be exchanged but once while its overlap lasts: "installed" is for that.
KEYED = ("sync", "async", "mcp", "watched", "crew", "parent", "docs", "installed")
INVITED = ("python-cli", "mcp-invite", "docs-python", "docs-mcp", "docs-curl")
CLIENT_PYTHON = ROOT / ".venv-demo" / "bin" / "python"
CREW_PYTHON = ROOT / ".venv-clients" / "crewai" / "bin" / "python"
NODE_HOME = ROOT / ".venv-clients" / "node"
MCP_SERVER = NODE_HOME / "node_modules/@agentvalet/mcp-server/dist/index.js"
REGISTER = NODE_HOME / "node_modules/@agentvalet/register/dist/index.js"
SCRIPTS = ROOT / "tests" / "clients"


def grant(scope: str, *, platform: str = "acme-chat", asks: bool = False) -> dict[str, Any]:
    return {"platform": platform, "scope": scope, "require_approval": asks}


USUAL = [
    grant("chat:read"),
    grant("chat:write", asks=True),
    grant("broken:call", platform="broken", asks=True),
    grant("broken:read", platform="broken"),
]


@dataclass
class Site:
    """The running installation, with what provisioning made."""

    valet: Valet
    platform: CountingPlatform
    nowhere: socket.socket  # a port that refuses connections for as long as this is open

    def __post_init__(self) -> None:
        self.ids: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.connections: dict[str, str] = {}
        self.owner_id = ""
        for name in KEYED:
            (self.valet.top / f"{name}.pem").write_text(private_key(name))
            (self.valet.top / f"{name}.pub.pem").write_text(public_key(name))

    @property
    def url(self) -> str:
        return self.valet.url

    def provision(self) -> None:
        """Make platforms, connections and agents."""
        platform = {"auth": {"type": "bearer"}}
        file = {
            "owner": "Acme",
            "members": [{"email": EMAIL, "role": "admin", "password_env": "OWNER_PASSWORD"}],
            "platforms": [
                platform
                | {"id": "acme-chat", "name": "Acme Chat", "base_url": self.platform.url}
                | {"scopes": {"chat:read": ["GET /**"], "chat:write": ["POST /**"], "chat:delete": ["DELETE /**"]}},
                platform
                | {"id": "broken", "name": "Broken", "base_url": f"http://127.0.0.1:{self.nowhere.getsockname()[1]}"}
                | {"scopes": {"broken:call": ["POST /**"], "broken:read": ["GET /**"]}},
            ],
            "connections": [
                {"platform": "acme-chat", "label": "Main", "default": True, "credential_env": "ACME_TOKEN"},
                {"platform": "acme-chat", "label": "Stale", "credential_env": "STALE_TOKEN"},
                {"platform": "broken", "label": "Main", "default": True, "credential_env": "STALE_TOKEN"},
            ],
            "agents": [
                *({"name": name, "public_key_file": f"{name}.pub.pem", "grants": USUAL} for name in KEYED),
                *({"name": name, "invite": True, "grants": USUAL} for name in INVITED),
            ],
        }
        secrets = {"OWNER_PASSWORD": PASSWORD, "ACME_TOKEN": self.platform.token, "STALE_TOKEN": "tok-long-gone"}
        made = self.valet.provision(yaml.safe_dump(file), secrets=secrets)
        self.owner_id = made["owner_id"]
        self.ids = {agent["name"]: agent["agent_id"] for agent in made["agents"]}
        self.secrets |= {agent["name"]: agent["bind_secret"] for agent in made["agents"] if "bind_secret" in agent}
        self.connections = {
            entry["label"]: entry["connection_id"] for entry in made["connections"] if entry["platform"] == "acme-chat"
        }

    def home(self, name: str) -> Path:
        """A fresh home directory, so that nothing of one client is found by another."""
        path = self.valet.top / "homes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """What a client finds in its environment apart from an identity."""
        quiet = {"NO_COLOR": "1", "CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "BROWSER": "true"}
        return bare_environment(quiet | {"HOME": str(home), "NO_UPDATE_NOTIFIER": "1"} | more)

    def python_client(self, agent: str, *, kind: str, python: Path = CLIENT_PYTHON, script: str = "calls.py") -> Remote:
        """The Python client of this agent, kind sync or async."""
        home = self.home(f"{agent}-{script}")
        env = self.environment(
            home,
            AGENTVALET_PROXY_URL=self.url,
            AGENTVALET_AGENT_ID=self.ids[agent],
            AGENTVALET_OWNER_ID=self.owner_id,
            AGENT_PRIVATE_KEY_PATH=str(self.valet.top / f"{agent}.pem"),
        )
        return Remote([python, SCRIPTS / script, kind], env=env, cwd=home, log=self.valet.top / f"{agent}.log")

    def mcp_server(self, agent: str, **env: str) -> Remote:
        """The MCP server of this agent under a host."""
        identity = {
            "PROXY_URL": self.url,
            "AGENT_ID": self.ids[agent],
            "OWNER_ID": self.owner_id,
            "AGENT_PRIVATE_KEY_PATH": str(self.valet.top / f"{agent}.pem"),
        }
        return self.mcp_host(agent, **identity, **env)

    def mcp_host(self, home: str, *, start: Sequence[str | Path] = ("node", MCP_SERVER), **env: str) -> Remote:
        """The MCP server under a host that starts it so, with whatever identity ENV or its home has."""
        folder = self.home(home)
        argv = ["node", SCRIPTS / "mcp_session.mjs", NODE_HOME, *start]
        host = Remote(argv, env=self.environment(folder, **env), cwd=folder, log=self.valet.top / f"{home}.log")
        host.event("ready", patience=30)
        return host

    def owner(self) -> Owner:
        """The owner's admin, signed in."""
        owner = Owner(self.url)
        owner.sign_in(email=EMAIL, password=PASSWORD)
        return owner

    def request(self, method: str, path: str, *, agent: str = "", body: Any = None, **headers: str) -> "Reply":
        """One plain request, signed for AGENT if named: the bytes that a client sees."""
        given = {"Host": f"localhost:{self.valet.port}", "Content-Type": "application/json"} | headers
        if agent:
            now = int(time.time())
            claims = {"agent_id": self.ids[agent], "owner_id": self.owner_id, "iat": now, "exp": now + 60}
            given["Authorization"] = f"Bearer {jwt.encode(claims, private_key(agent), algorithm='RS256')}"
        connection = HTTPConnection("127.0.0.1", self.valet.port, timeout=20)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body), headers=given)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())
        finally:
            connection.close()


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)
