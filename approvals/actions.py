"""A call as an agent asks for it, and as it would go out under the grant that covers it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from agents.authentication import Caller
from approvals.binding import FORM_VERSION, Form
from platforms.bodies import make_body
from platforms.coverage import Coverage, find_coverage
from platforms.endpoints import parse_endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A call as an agent asks for it. `body` is the JSON text to send, None for no body."""

    platform: str
    scope: str
    method: str
    endpoint: str
    body: str | None
    connection_id: UUID | None
    reason: str


def cover(*, caller: Caller, action: Action, now: datetime) -> tuple[Form, Coverage]:
    """The call in its exact bytes, and the grant that covers it now.

    Raises:
        EndpointRefused: the endpoint is not one that can be called.
        BodyRefused: the platform takes no such body.
        NotCovered, NotConnected: see `platforms.coverage.find_coverage`.
    """
    endpoint = parse_endpoint(action.endpoint)
    coverage = find_coverage(
        owner_id=caller.owner_id,
        agent_id=caller.agent_id,
        platform=action.platform,
        scope=action.scope,
        method=action.method,
        endpoint=endpoint,
        connection_id=action.connection_id,
        now=now,
    )
    tool = endpoint.path[1:] if coverage.is_mcp else ""
    content_type, body = make_body(coverage.body_kind, action.body, auth=coverage.auth, tool=tool)
    form = Form(
        version=FORM_VERSION,
        owner_id=str(caller.owner_id),
        agent_id=caller.agent_id,
        platform=coverage.platform,
        connection_id=str(coverage.connection_id),
        credential_version=coverage.credential_version,
        scope=coverage.scope,
        method=action.method,
        endpoint=f"{endpoint.path}?{endpoint.query}" if endpoint.query else endpoint.path,
        url=coverage.url,
        content_type=content_type,
        placement=coverage.auth.placement,
        headers=coverage.auth.headers,
        body=body,
        policy_version=coverage.policy_version,
    )
    return form, coverage
