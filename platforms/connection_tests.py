"""Testing a connection: a read-only call with the stored credential, and whose account it turns out to be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Member
from audit.events import JSON, Event, Result
from audit.records import record
from platforms import client
from platforms.client import PlatformResponse, PlatformUnreachable
from platforms.credentials import apply, parse_auth
from platforms.endpoints import join_url, parse_endpoint
from platforms.grants import change_of
from platforms.mcp import ACCEPT
from platforms.models import CallStyle, Connection, ConnectionStatus
from platforms.renewals import NoAccess
from platforms.stored_credentials import credential_of
from platforms.traffic import PlatformBlocked, Turn, turn
from platforms.vault import VaultError

_LONGEST = {"email": 254, "display_name": 200, "account_id": 200}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """How it came out. `status` is what the connection is from now on, None for as it was; `sentence` is for people."""

    works: bool
    sentence: str
    reason: str = ""
    status: ConnectionStatus | None = None
    response_status: int | None = None
    identity: Mapping[str, JSON] | None = None


def test_connection(*, member: Member, connection_id: UUID, request_id: UUID, now: datetime) -> Tested:
    """Make the platform's test call with the stored credential, once, and keep what comes of it.

    Intent and outcome are on record, each in a transaction of its own; none is open while the platform is waited for.

    Raises:
        NotAllowed: the member is no admin.
        Connection.DoesNotExist: not a connection of the member's owner.
        NotPossible: nobody has said which call tests this platform.
    """
    if not member.may_administer:
        raise NotAllowed
    connection = Connection.objects.for_owner(member.owner).select_related("platform").get(pk=connection_id)
    if not connection.platform.test_call:
        raise NotPossible(f"{connection.platform.name} has no test call. It is tested by the first call of an agent.")
    with transaction.atomic(durable=True):
        _record(Event.CONNECTION_TESTING, member, connection, request_id=request_id, now=now)
    client.release_connection()
    tested = _call(connection, now=now)
    with transaction.atomic(durable=True):
        _keep(connection, tested)
        _record(Event.CONNECTION_TESTED, member, connection, request_id=request_id, now=timezone.now(), tested=tested)
    return tested


def _call(connection: Connection, *, now: datetime) -> Tested:
    platform = connection.platform
    try:
        credential = credential_of(connection, timeout=settings.DIRECT_TIMEOUT / 2)
        with turn(
            owner_id=platform.owner_id, platform=platform.slug, timeout=settings.DIRECT_TIMEOUT, now=now
        ) as place:
            return _judge(connection, credential, _send(connection, credential, place))
    except PlatformBlocked as error:
        return Tested(works=False, sentence=f"Not tested. {error}", reason=error.code)
    except PlatformUnreachable as error:
        return Tested(works=False, sentence=f"Not tested. {error}", reason=error.code)
    except NoAccess as error:
        return Tested(works=False, sentence=f"Not tested. {error}", reason=error.reason)
    except VaultError as error:
        return Tested(works=False, sentence=f"Not tested. {error}", reason="credential_unavailable")
    except ValueError as error:
        return Tested(works=False, sentence=f"Not tested. {error}", reason="request_refused")


def _send(connection: Connection, credential: str, place: Turn) -> PlatformResponse:
    call: dict[str, Any] = connection.platform.test_call or {}
    is_mcp = connection.platform.call_style == CallStyle.MCP
    headers = [("Accept", ACCEPT if is_mcp else "application/json")]
    if call["body"]:
        headers.append(("Content-Type", "application/json"))
    url, headers = apply(
        parse_auth(connection.platform.auth),
        credential,
        url=join_url(connection.platform.base_url, parse_endpoint(call["endpoint"])),
        headers=headers,
    )
    response = client.send(
        method=call["method"],
        url=url,
        headers=headers,
        body=call["body"].encode() if call["body"] else None,
        timeout=settings.DIRECT_TIMEOUT,
        max_response_bytes=settings.MAX_RESPONSE_BYTES,
        fresh=True,
    )
    return place.answered(response)


def _judge(connection: Connection, credential: str, response: PlatformResponse) -> Tested:
    """A 200 that does not say whose credential it is, where it should, is a refusal: so some platforms answer it."""
    status = response.status
    name = connection.platform.name
    if status in {401, 403}:
        sentence = f"{name} does not take the credential ({status}). Reauthenticate the connection."
        return Tested(
            works=False,
            sentence=sentence,
            reason="credential_refused",
            status=ConnectionStatus.REAUTH_NEEDED,
            response_status=status,
        )
    if not 200 <= status < 300:
        sentence = f"{name} answered the test with {status}. That says nothing about the credential."
        return Tested(works=False, sentence=sentence, reason="unexpected_answer", response_status=status)
    where: dict[str, str] = (connection.platform.test_call or {})["identity"]
    identity = _identity(where, response.body, credential)
    if where and not identity:
        sentence = f"{name} does not say whose credential this is, so it is not taken. Reauthenticate the connection."
        return Tested(
            works=False,
            sentence=sentence,
            reason="no_identity",
            status=ConnectionStatus.REAUTH_NEEDED,
            response_status=status,
        )
    who = identity.get("email") or identity.get("display_name") or identity.get("account_id")
    return Tested(
        works=True,
        sentence=f"It works: {name} knows it as {who}." if who else "It works.",
        status=ConnectionStatus.ACTIVE,
        response_status=status,
        identity=identity or None,
    )


def _identity(where: Mapping[str, str], body: bytes, credential: str) -> dict[str, str]:
    """What stands in the answer at those places: short, printable, and never the credential."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    found = {}
    for field, path in where.items():
        text = "".join(character for character in _at(answer, path) if character.isprintable()).strip()
        if text and credential not in text and len(text) <= _LONGEST[field]:
            found[field] = text
    return found


def _at(answer: object, path: str) -> str:
    for part in path.split("."):
        if isinstance(answer, dict):
            answer = answer.get(part)
        elif isinstance(answer, list) and part.isascii() and part.isdigit() and int(part) < len(answer):
            answer = answer[int(part)]
        else:
            return ""
    return str(answer) if isinstance(answer, str | int) and not isinstance(answer, bool) else ""


def _keep(connection: Connection, tested: Tested) -> None:
    """Unless the credential was replaced meanwhile, or is gone: then nothing was learnt about the one that is there."""
    row = Connection.objects.filter(pk=connection.pk, credential_version=connection.credential_version)
    if tested.status is not None:
        row.update(status=tested.status)
    if tested.identity is not None:
        row.update(identity=tested.identity)


def _record(
    event: Event,
    member: Member,
    connection: Connection,
    *,
    request_id: UUID,
    now: datetime,
    tested: Tested | None = None,
) -> None:
    facts: dict[str, JSON] = {"connection": connection.label, "connection_id": str(connection.pk)}
    if tested is not None and tested.response_status is not None:
        facts["response_status"] = tested.response_status
    record(
        event=event,
        result=Result.ERROR if tested is not None and not tested.works else Result.INFO,
        owner_id=connection.platform.owner_id,
        actor=change_of(member, request_id=request_id, now=now).actor,
        now=now,
        request_id=request_id,
        platform=connection.platform.slug,
        reason=tested.reason if tested is not None else "",
        metadata=facts,
    )
