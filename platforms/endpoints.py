"""Where a call may go on a platform: endpoints as agents write them, scope rules, base URLs."""

from collections.abc import Iterable
from dataclasses import dataclass


class EndpointRefused(ValueError):
    """The endpoint cannot be called; the message is one sentence that may be shown to the agent."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A normalised endpoint: exactly the path and query that are matched, shown and sent."""

    path: str
    query: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a scope: a method (or "*") and the segments of a path pattern."""

    method: str
    segments: tuple[str, ...]


def parse_endpoint(endpoint: str) -> Endpoint:
    """The normalised form of an agent's `endpoint`. Raises EndpointRefused."""
    raise NotImplementedError


def parse_rule(rule: str) -> Rule:
    """The rule in "GET /api/**". Raises ValueError with a sentence."""
    raise NotImplementedError


def covers(rules: Iterable[Rule], *, method: str, path: str) -> bool:
    """Whether a rule covers a call to the normalised `path`."""
    raise NotImplementedError


def parse_base_url(text: str) -> str:
    """The normalised base URL of a platform. Raises ValueError with a sentence."""
    raise NotImplementedError


def join_url(base_url: str, endpoint: Endpoint) -> str:
    """The URL of an endpoint under a base URL that parse_base_url returned."""
    raise NotImplementedError
