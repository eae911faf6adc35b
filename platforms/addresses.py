"""Which network addresses may be connected to: public ones, and those the operator lists."""

from collections.abc import Iterable
from dataclasses import dataclass


class TargetRefused(Exception):
    """The address may not be connected to; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class PrivateTargets:
    """What AGENTVALET_PRIVATE_TARGETS lists."""

    entries: tuple[object, ...] = ()


def parse_private_targets(items: Iterable[str]) -> PrivateTargets:
    """The targets in `host-or-cidr[:port]` items. Raises ValueError with a sentence."""
    raise NotImplementedError


def check_address(ip: str, port: int, *, host: str, allowed: PrivateTargets) -> None:
    """Raises TargetRefused unless `ip` is globally routable unicast or listed in `allowed`."""
    raise NotImplementedError
