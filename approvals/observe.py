"""Observe mode: relaying a call with the agent's own credential, for watching an agent before governing it."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from agents.authentication import Caller
from approvals.direct import ObservedCall, RightsMoved, relay
from approvals.refusals import ApprovalRequired, CredentialRefused, note_refusal, refuse_leak
from audit.events import JSON
from platforms.bodies import BodyRefused, make_body
from platforms.client import PlatformResponse
from platforms.coverage import NotConnected, NotCovered, find_coverage
from platforms.credentials import check_credential, parse_auth
from platforms.endpoints import Endpoint, EndpointRefused, parse_endpoint, target_url
from platforms.models import CallStyle, Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A call to relay. `scope` is the agent's own word for it, "" for none; nothing is decided by it."""

    platform: str
    scope: str
    method: str
    endpoint: str
    body: str | None
    credential: str = field(repr=False)


def observe_action(
    *, caller: Caller, observation: Observation, request_id: UUID, now: datetime
) -> tuple[PlatformResponse, dict[str, JSON]]:
    """Relay the call and put it on record; the credential is used for it and forgotten.

    It goes where a governed call could go: to a connected platform of the owner on which the agent has any current
    grant, under the rules for endpoints. It is no way around a person: what a scope granted to the agent, or to the
    parent of a child, covers and asks approval for is refused. The credential may well be one that is stored here too:
    an agent that is watched before it is governed holds its own copy.

    Raises:
        SecretInRequest, EndpointRefused, BodyRefused, NotCovered, NotConnected: as for
            `approvals.services.submit_action`.
        CredentialRefused: the platform's way of authentication cannot carry it.
        ApprovalRequired: the call belongs before a person.
        PlatformUnreachable, CannotSend: see `approvals.direct.relay`.
    """
    refuse_leak(caller=caller, asked=observation, reason="", request_id=request_id, now=now)
    try:
        while True:
            call = _call(caller, observation, now=now)
            with suppress(RightsMoved):
                return relay(
                    caller=caller,
                    call=call,
                    read_again=lambda: _call(caller, observation, now=now),
                    credential=observation.credential,
                    request_id=request_id,
                    now=now,
                )
    except (EndpointRefused, BodyRefused, CredentialRefused, NotCovered, NotConnected, ApprovalRequired) as refusal:
        note_refusal(caller=caller, asked=observation, refusal=refusal, request_id=request_id, now=now, mode="observe")
        raise


def _call(caller: Caller, observation: Observation, *, now: datetime) -> ObservedCall:
    endpoint = parse_endpoint(observation.endpoint)
    grants = _granted(caller.agent_id, caller, observation, now=now)
    if not grants:
        raise NotCovered("scope_not_granted", f"Nothing on {observation.platform} is granted to this agent.")
    platform = grants[0].scope.platform
    if not platform.connections.exists():
        raise NotConnected(f"{platform.slug} has no connection.")
    auth = parse_auth(platform.auth)
    try:
        check_credential(auth, observation.credential)
    except ValueError as error:
        raise CredentialRefused(str(error)) from None
    if caller.parent_id:
        grants += _granted(caller.parent_id, caller, observation, now=now)
    for grant in grants:
        _refuse_gated(grant, caller, observation.method, endpoint, now=now)
    is_mcp = platform.call_style == CallStyle.MCP
    tool = endpoint.path[1:] if is_mcp else ""
    content_type, body = make_body(platform.body_kind, observation.body, auth=auth, tool=tool)
    return ObservedCall(
        platform=platform.slug,
        scope=observation.scope,
        method=observation.method,
        endpoint=f"{endpoint.path}?{endpoint.query}" if endpoint.query else endpoint.path,
        url=target_url(platform.base_url, endpoint, is_mcp=is_mcp),
        auth=auth,
        content_type=content_type,
        is_mcp=is_mcp,
        body=body,
    )


def _granted(agent_id: str, caller: Caller, observation: Observation, *, now: datetime) -> list[Grant]:
    return list(
        Grant.objects.for_agent(agent_id)
        .current(now)
        .filter(scope__platform__owner_id=caller.owner_id, scope__platform__slug=observation.platform)
        .select_related("scope__platform")
    )


def _refuse_gated(grant: Grant, caller: Caller, method: str, endpoint: Endpoint, *, now: datetime) -> None:
    """Raises ApprovalRequired if the granted scope covers the call and asks; whatever cannot be told is refused too."""
    try:
        coverage = find_coverage(
            owner_id=caller.owner_id,
            agent_id=grant.agent_id,
            platform=grant.scope.platform.slug,
            scope=grant.scope.name,
            method=method,
            endpoint=endpoint,
            now=now,
        )
    except NotCovered as refusal:
        if refusal.reason == "endpoint_scope_mismatch":
            return
        raise
    if coverage.require_approval:
        raise ApprovalRequired(grant_id=coverage.grant_id, scope=grant.scope.name)
