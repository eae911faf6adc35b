"""How a platform wants its credential: which header or parameter carries it, and what it may contain."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Auth:
    """Where the credential goes. `name` is the header's or parameter's, "" for bearer and basic."""

    type: Literal["bearer", "header", "query", "basic"]
    name: str = ""


def parse_auth(value: Mapping[str, object]) -> Auth:
    """The placement in {"type": …, "name": …}. Raises ValueError with a sentence."""
    raise NotImplementedError


def check_credential(auth: Auth, credential: str) -> None:
    """Raises ValueError with a sentence if the credential cannot be carried."""
    raise NotImplementedError


def apply(
    auth: Auth, credential: str, *, url: str, headers: list[tuple[str, str]]
) -> tuple[str, list[tuple[str, str]]]:
    """URL and headers with the credential in place. Raises ValueError with a sentence."""
    raise NotImplementedError
