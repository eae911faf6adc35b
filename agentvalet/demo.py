"""The demo of `up --demo`: a platform and an agent in deploy/demo, with secrets of their own under DATA/demo."""

import json
import os
import secrets
import time
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings

from agentvalet import keys
from agentvalet.embedded import ServiceError

SIGN_IN = "owner@example.com"  # as in deploy/demo/demo.yaml
_URL_IN_FILE = "http://127.0.0.1:9101"
_ROOT = Path(__file__).resolve().parent.parent
_FOLDER = _ROOT / "deploy" / "demo"
_AGENT_PYTHON = _ROOT / ".venv-demo" / "bin" / "python"


def _state() -> Path:
    return Path(settings.DATA_DIR / "demo")


def password() -> str:
    """The demo sign-in's password, made at the first start."""
    return keys.keep(_state() / "password", lambda: "-".join(secrets.token_hex(2) for _ in range(5)))


def password_to_show() -> str:
    """The demo sign-in's password for as long as it is that; else a word on where the person's own one comes from.

    Needs no models, as it is asked by the parent of everything: `prepare` has noted whether it was changed.
    """
    if (_state() / "password.changed").exists():
        return "(the one you have given it since)"
    return password()


def check_installed() -> None:
    """Raises ServiceError where the agent's own environment has not been made."""
    if not _AGENT_PYTHON.exists():
        raise ServiceError("The demo agent is not installed: run `make demo`, or start without --demo.")


def platform_argv(python: str) -> list[str]:
    """How to start the platform. It writes its address to DATA/demo/platform.url once it listens."""
    keys.keep(_state() / "token", lambda: secrets.token_urlsafe(24))
    (_state() / "platform.url").unlink(missing_ok=True)
    return [python, str(_FOLDER / "acme_chat.py"), str(_state())]


def platform_url(*, patience: float = 10.0) -> str:
    """Where the platform listens; waits PATIENCE seconds for it. Raises ServiceError."""
    file = _state() / "platform.url"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if file.is_file() and (url := file.read_text().strip()):
            return url
        time.sleep(0.02)
    raise ServiceError(f"The demo platform did not start: see {settings.DATA_DIR}/log/platform.log.")


def prepare(*, base_url: str) -> None:
    """Make the agent's key pair and provision owner, platform, connection and agent. Needs the database."""
    from agents.models import User  # noqa: PLC0415 - the supervisor reads this module, without models
    from agentvalet.provisioning import provision  # noqa: PLC0415 - the supervisor reads this module, without models

    private = keys.keep(_state() / "deploy-bot.pem", _private_key)
    public = serialization.load_pem_private_key(private.encode(), password=None).public_key()
    (_state() / "deploy-bot.pub.pem").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    text = (_FOLDER / "demo.yaml").read_text().replace(_URL_IN_FILE, base_url)
    made = provision(
        text,
        base=_state(),
        env={"OWNER_PASSWORD": password(), "ACME_TOKEN": (_state() / "token").read_text().strip()},
    )
    changed = _state() / "password.changed"
    if User.objects.get(email=SIGN_IN).check_password(password()):
        changed.unlink(missing_ok=True)
    else:
        changed.touch()
    identity = {"AGENTVALET_AGENT_ID": made["agents"][0]["agent_id"], "AGENTVALET_OWNER_ID": made["owner_id"]}
    (_state() / "agent.json").write_text(json.dumps(identity))


def agent_argv() -> list[str]:
    """How to start the agent."""
    return [str(_AGENT_PYTHON), str(_FOLDER / "agent.py")]


def agent_environment(*, proxy_url: str) -> dict[str, str]:
    """The agent's whole environment. It gets nothing of ours: an agent knows its own identity and key only."""
    identity: dict[str, str] = json.loads((_state() / "agent.json").read_text())
    return identity | {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONUNBUFFERED": "1",
        "AGENTVALET_PROXY_URL": proxy_url,
        "AGENT_PRIVATE_KEY_PATH": str(_state() / "deploy-bot.pem"),
    }


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
