"""Runs beside a server, on its data: what an owner decides about agents, through the functions that the pages call.

    python owner_process.py EMAIL

Reads JSON lines {"id", "do": <a function below>, …} and prints {"id", "returned": …}. It ends with its standard input.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import django

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
django.setup()

from django.utils import timezone  # noqa: E402 - needs the apps

from agents import enrolment, lifecycle  # noqa: E402
from agents.models import InviteKind, Member  # noqa: E402
from notifications import uninstalls  # noqa: E402
from notifications.models import UninstallRequest  # noqa: E402
from platforms import access, admissions  # noqa: E402
from platforms.asks import AccessRequest, Registration  # noqa: E402
from platforms.grants import Choice  # noqa: E402

member = Member.objects.select_related("owner", "user").get(user__email=sys.argv[1])


def change() -> dict[str, Any]:
    return {"member": member, "request_id": uuid4(), "now": timezone.now()}


def admit(name: str, grants: list[dict[str, Any]]) -> str | None:
    """Let the program of this name in."""
    asked = Registration.objects.for_owner(member.owner).waiting(timezone.now()).filter(agent_name=name).first()
    if asked is None:
        return None
    return str(
        admissions.approve(registration=asked.pk, grants=[Choice(**grant) for grant in grants], **change()).agent_id
    )


def turn_away(name: str) -> str | None:
    asked = Registration.objects.for_owner(member.owner).waiting(timezone.now()).filter(agent_name=name).first()
    return None if asked is None else str(admissions.reject(registration=asked.pk, **change()).pk)


def answer_access(agent: str, yes: bool) -> str | None:
    """Grant, or deny, what the agent asked for."""
    asked = AccessRequest.objects.for_owner(member.owner).filter(agent=agent, status="pending").first()
    if asked is None:
        return None
    if yes:
        return str(access.approve(request=asked.pk, require_approval=False, **change()).pk)
    return str(access.deny(request=asked.pk, **change()).pk)


def let_go(agent: str, yes: bool) -> str | None:
    """Answer the agent's wish to be uninstalled."""
    asked = UninstallRequest.objects.for_owner(member.owner).pending(timezone.now()).filter(agent=agent).first()
    if asked is None:
        return None
    (uninstalls.approve if yes else uninstalls.reject)(uninstall_id=asked.pk, **change())
    return str(asked.pk)


def install_token(agent: str) -> str:
    return enrolment.issue_invite(agent_id=agent, kind=InviteKind.INSTALL, **change())


def suspend(agent: str) -> str:
    return lifecycle.suspend(agent_id=agent, **change()).pk


def reactivate(agent: str) -> str:
    return lifecycle.reactivate(agent_id=agent, **change()).pk


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (admit, turn_away, answer_access, let_go, install_token, suspend, reactivate)
}

if __name__ == "__main__":
    for line in sys.stdin:
        order = json.loads(line)
        number, do = order.pop("id"), order.pop("do")
        sys.stdout.write(json.dumps({"id": number, "returned": FUNCTIONS[do](**order)}) + "\n")
        sys.stdout.flush()
