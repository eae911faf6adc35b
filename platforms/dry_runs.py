"""What would become of a call: the question that every call is asked, without the call."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from agents.models import Agent
from platforms.coverage import NotConnected, NotCovered, find_coverage
from platforms.endpoints import EndpointRefused, parse_endpoint
from platforms.models import Scope

_USUAL = ("GET", "POST", "PUT", "PATCH", "DELETE")
_METHOD = re.compile(r"[A-Z]{1,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`code` is what the agent would be told, "" for a call that is covered; `sentence` is for people."""

    outcome: Literal["allowed", "waits", "refused"]
    sentence: str
    code: str = ""


def dry_run(*, agent: Agent, platform: str, scope: str, method: str, endpoint: str, now: datetime) -> Verdict:
    """Ask `platforms.coverage` as a call would. Nothing is sent, and nothing is put on record."""
    if not _METHOD.fullmatch(method):
        return Verdict(outcome="refused", code="invalid_request", sentence="That is not a method.")
    try:
        found = find_coverage(
            owner_id=agent.owner_id,
            agent_id=agent.pk,
            platform=platform,
            scope=scope,
            method=method,
            endpoint=parse_endpoint(endpoint),
            now=now,
        )
    except EndpointRefused as error:
        return Verdict(outcome="refused", code="invalid_request", sentence=str(error))
    except NotCovered as error:
        return Verdict(outcome="refused", code=error.reason, sentence=str(error))
    except NotConnected as error:
        return Verdict(outcome="refused", code="no_credential", sentence=str(error))
    where = f"{method} {found.url} goes out on the connection {found.connection_label}"
    if found.require_approval:
        how = "with a passkey " if found.step_up else ""
        return Verdict(outcome="waits", sentence=f"{where} once a person has approved it {how}".rstrip() + ".")
    return Verdict(outcome="allowed", sentence=f"{where} without asking anybody.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Triable:
    """A scope whose calls can be tried, with the methods that its rules name; none where they name any."""

    scope: Scope
    methods: list[str]


def triable(scopes: Iterable[Scope]) -> list[Triable]:
    found = []
    for scope in scopes:
        methods = list(dict.fromkeys(rule.partition(" ")[0] for rule in scope.rules))
        found.append(Triable(scope=scope, methods=[] if "*" in methods else methods))
    return found


def methods_to_try(rows: Iterable[Triable], *, tried: str = "") -> list[str]:
    """What some scope covers, in the order in which scopes name them, and what was tried last."""
    methods = dict.fromkeys(method for row in rows for method in row.methods or _USUAL)
    return [*methods, *([tried] if tried and tried not in methods else [])]
