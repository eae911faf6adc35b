"""How often somebody may try to sign in: per address and per account, the same whether or not the account exists."""

import hashlib
from datetime import UTC, datetime, timedelta

from django.core.cache import cache

from agents.throttling import network_of

WINDOW = timedelta(minutes=15)
TRIES_PER_ACCOUNT = 10
TRIES_PER_ADDRESS = 30  # an office may share one


def count_try(*, address: str | None, email: str, now: datetime) -> timedelta | None:
    """Count one attempt, before its password is looked at.

    Returns None if it may go on, else how long until the next one may. Counting comes first so that many at once are
    all counted.
    """
    counts = (
        (_count(_key("account", email, now)), TRIES_PER_ACCOUNT),
        (_count(_key("address", network_of(address), now)), TRIES_PER_ADDRESS),
    )
    if all(count <= most for count, most in counts):
        return None
    return _start(now) + WINDOW - now


def forget_tries(*, email: str, now: datetime) -> None:
    """The right password was given: the account starts anew. The address does not, or an attacker's own would help."""
    cache.delete(_key("account", email, now))


def _start(now: datetime) -> datetime:
    seconds = int(WINDOW.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, tz=UTC)


def _key(kind: str, subject: str, now: datetime) -> str:
    name = hashlib.sha256(subject.strip().lower().encode()).hexdigest()[:32]
    return f"sign-in:{kind}:{name}:{_start(now):%Y%m%d%H%M}"


def _count(key: str) -> int:
    cache.add(key, 0, timeout=2 * int(WINDOW.total_seconds()))
    return int(cache.incr(key))
