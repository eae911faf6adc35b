"""How often something may be asked for, per address or per agent: counted in Valkey, for all web processes together."""

import logging
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import cast

import redis
from django.conf import settings
from rest_framework.request import Request

from agents.errors import ApiError
from agents.http import client_address, stamped

logger = logging.getLogger(__name__)

# The generic cell rate algorithm: the key holds the time at which the limit will be unused again (milliseconds).
# As a script it is one step for all who ask at once. The half millisecond is for rounding.
_TAKE = """
local now, step, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + step
if full - now > window + 0.5 then
  return math.ceil(full - now - window)
end
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.ceil(full - now))
return 0
"""


def check_rate(*, key: str, limit: int, per_seconds: int, now: datetime) -> None:
    """Take one of `limit` requests that may come in `per_seconds`, all at once or spread out. A limit of 0 is none.

    It reaches over the network: never call it inside a transaction. While Valkey is away everything passes: the limits
    are against load, nothing that they guard can be guessed.

    Raises:
        ApiError: 429, with the seconds to wait in Retry-After.
    """
    if limit <= 0:
        return
    window = per_seconds * 1000
    try:
        client = _client(settings.REDIS_URL)
        wait = cast(
            int, client.eval(_TAKE, 1, f"rate:{key}", str(now.timestamp() * 1000), str(window / limit), str(window))
        )
    except redis.RedisError as error:
        logger.warning("requests are not limited, Valkey does not answer: %s", error)
        return
    if wait:
        seconds = -(-wait // 1000)
        raise ApiError(
            429,
            f"Too many requests: try again in {seconds} s.",
            code="rate_limited",
            headers={"Retry-After": str(seconds)},
        )


def first_in_a_minute(*, key: str, now: datetime) -> bool:
    """Whether this is the first of its kind for a minute: what is written for each of them must not become a load.

    Like `check_rate` it reaches over the network; while Valkey is away each one is the first.
    """
    try:
        check_rate(key=key, limit=1, per_seconds=60, now=now)
    except ApiError:
        return False
    return True


def check_anonymous(request: Request, endpoint: str) -> None:
    """Hold back an address that asks an endpoint without identity too often (AGENTVALET_ANONYMOUS_PER_MINUTE).

    Raises:
        ApiError: see `check_rate`.
    """
    stamp = stamped(request)
    check_rate(
        key=f"{endpoint}:{network_of(client_address(stamp))}",
        limit=settings.ANONYMOUS_PER_MINUTE,
        per_seconds=60,
        now=stamp.now,
    )


def network_of(address: str | None) -> str:
    """Whom to count an address as: an IPv6 subscriber has a whole /64."""
    if address is None:
        return "unknown"
    ip = ip_address(address)
    return f"{int(ip) >> 64:x}" if isinstance(ip, IPv6Address) and ip.ipv4_mapped is None else str(ip)


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
