"""The keys of an installation: made for local mode at the first start, printed for production by `make_keys`."""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def _random_32() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


# Their order is the order in which `make_keys` prints them. `agentvalet.settings.secret` reads them.
_MAKERS: dict[str, Callable[[], str]] = {
    "AGENTVALET_SECRET_KEY": lambda: secrets.token_urlsafe(48),
    # A key id of its own, so that a credential sealed with a lost key is told from a damaged one.
    "AGENTVALET_VAULT_KEYS": lambda: f"k{secrets.token_hex(3)}:{_random_32()}",
    "AGENTVALET_SEAL_KEY": _random_32,
    "AGENTVALET_AUDIT_KEY": _random_32,
    "AGENTVALET_TOKEN_KEY": _random_32,
    "AGENTVALET_RECEIPT_KEY": _random_32,
    "AGENTVALET_VAPID_KEY": _random_32,
}


def fresh() -> dict[str, str]:
    """A new set of keys, by the names of their environment variables."""
    return {name: make() for name, make in _MAKERS.items()}


def keep(path: Path, make: Callable[[], str]) -> str:
    """The text in PATH; where there is no such file, it is made first: mode 0600, complete or not at all."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike rename, it does not replace what another start has just made
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()


def ensure(*, keys_dir: Path) -> None:
    """Make the missing key files of local mode. What the environment provides is not made."""
    for name, make in _MAKERS.items():
        if not os.environ.get(name) and not os.environ.get(f"{name}_FILE"):
            keep(keys_dir / name.removeprefix("AGENTVALET_").lower(), make)
