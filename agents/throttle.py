"""How often somebody may try to sign in: the same whether or not the account exists.

A stranger who guesses is stopped at the own network, by account and altogether; the account stays open for everybody
else. Only guesses from many networks close the account itself, for the rest of the quarter of an hour.
"""

import hashlib
import logging
from datetime import UTC, datetime, timedelta

from django.core.cache import cache
from redis.exceptions import RedisError

from agents.throttling import network_of

logger = logging.getLogger(__name__)

WINDOW = timedelta(minutes=15)
TRIES_PER_ACCOUNT_AND_NETWORK = 10
TRIES_PER_NETWORK = 30  # an office may share one
TRIES_PER_ACCOUNT = 100  # from everywhere


class NotCounted(Exception):
    """Valkey is away or takes no writes: without a count nobody may try."""


def count_try(*, address: str | None, email: str, now: datetime) -> timedelta | None:
    """Count one attempt, before its password is looked at.

    Returns None if it may go on, else how long until the next one may. Counting comes first so that many at once are
    all counted. What is stopped at its network does not count against the account.

    Raises:
        NotCounted: see there.
    """
    network = network_of(address)
    try:
        from_here = _count(_key("network", network, now))
        on_account = _count(_key("account and network", f"{network} {_same(email)}", now))
        if (
            from_here <= TRIES_PER_NETWORK
            and on_account <= TRIES_PER_ACCOUNT_AND_NETWORK
            and _count(_key("account", _same(email), now)) <= TRIES_PER_ACCOUNT
        ):
            return None
    except RedisError as error:
        raise NotCounted(str(error)) from error
    return _start(now) + WINDOW - now


def forget_tries(*, address: str | None, email: str, now: datetime) -> None:
    """The right password was given: the account starts anew from here.

    The network as a whole does not, or an attacker's own account would help; neither do other networks.
    """
    try:
        cache.delete(_key("account and network", f"{network_of(address)} {_same(email)}", now))
    except RedisError as error:  # the person is in; the count runs out by itself
        logger.warning("sign-in attempts were not forgotten: %s", error)


def _same(email: str) -> str:
    return email.strip().casefold()  # coarser than the database, which takes ſ for S


def _start(now: datetime) -> datetime:
    seconds = int(WINDOW.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, tz=UTC)


def _key(kind: str, subject: str, now: datetime) -> str:
    name = hashlib.sha256(f"{kind} {subject}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"sign-in:{name}:{_start(now):%Y%m%d%H%M}"


def _count(key: str) -> int:
    cache.add(key, 0, timeout=2 * int(WINDOW.total_seconds()))
    return int(cache.incr(key))
