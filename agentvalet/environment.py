"""What is wrong with the environment as a whole: what production mode lacks, and names that are probably misspelt."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches

PREFIX = "AGENTVALET_"
KEYS = (
    "AGENTVALET_SECRET_KEY",
    "AGENTVALET_VAULT_KEYS",
    "AGENTVALET_SEAL_KEY",
    "AGENTVALET_AUDIT_KEY",
    "AGENTVALET_TOKEN_KEY",
    "AGENTVALET_RECEIPT_KEY",
    "AGENTVALET_VAPID_KEY",
)
_IN_FILES = (*KEYS, "AGENTVALET_EMAIL_URL")  # may be NAME_FILE
# What production mode has no default for, and what to say about it.
_NEEDED = {
    "AGENTVALET_PUBLIC_URL": " (as in https://valet.example.com)",
    "AGENTVALET_PROXY_HOPS": " (how many proxies of yours stand in front, 0 for none)",
    "DATABASE_URL": " (as in postgres://user:password@host/name)",
    "REDIS_URL": " (as in redis://host:6379/0)",
    **dict.fromkeys(KEYS, ""),
}
# Of the published clients, which may run on the same machine.
_CLIENTS = frozenset({"AGENTVALET_AGENT_ID", "AGENTVALET_API_URL", "AGENTVALET_OWNER_ID", "AGENTVALET_PROXY_URL"}) | {
    "AGENTVALET_PRIVATE_KEY_PATH"
}
_ALIKE = 0.75


def lacking(environ: Mapping[str, str]) -> str:
    """One sentence or two with everything that production mode lacks, or ""."""
    missing = [name for name in _NEEDED if not environ.get(name) and not (name in KEYS and environ.get(f"{name}_FILE"))]
    if not missing:
        return ""
    said = ", ".join(f"{name} is not set{_NEEDED[name]}" for name in missing)
    made = " `python manage.py make_keys` prints a fresh set of keys." if set(missing) & set(KEYS) else ""
    return f"Production mode lacks settings: {said}.{made} All are described in .env.example."


def unknown(environ: Mapping[str, str], *, known: Collection[str]) -> dict[str, str]:
    """A sentence for each variable that begins like one of ours and is none; with a question if it is near one."""
    names = {name for name in known if name.startswith(PREFIX)} | {f"{name}_FILE" for name in _IN_FILES}
    strange = {name for name in environ if name.startswith(PREFIX)} - names - _CLIENTS
    nearest = {name: next(iter(get_close_matches(name, names, n=1, cutoff=_ALIKE)), "") for name in sorted(strange)}
    return {
        name: f"{name} is no setting of AgentValet" + (f": is {meant} meant?" if meant else ", and is not looked at.")
        for name, meant in nearest.items()
    }
