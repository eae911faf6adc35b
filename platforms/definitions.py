"""What a platform is, however it is written down: in the catalogue, on a form, in a provisioning file."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings

from audit.events import JSON
from platforms.addresses import TargetRefused, check_address, parse_private_targets
from platforms.endpoints import parse_endpoint, parse_rule
from platforms.mcp import INITIALIZE, TOOL
from platforms.models import BodyKind, CallStyle, StepUp

IDENTITY_FIELDS = ("account_id", "display_name", "email")
MAX_COVERS = 300
MAX_QUERY = 2000
_CHANGES = re.compile(r"\b(mutation|subscription)\b")
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
# Those of RFC 9110, of WebDAV and its kin, and what is in use beside them. "*" in a rule is any other.
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "*", "QUERY", "LIST", "PURGE", "LINK", "UNLINK"}
    | {"COPY", "MOVE", "LOCK", "UNLOCK", "MKCOL", "MKCALENDAR", "PROPFIND", "PROPPATCH", "REPORT", "SEARCH", "ACL"}
)
# What whoever reads a page can do about an address that is refused.
ASK_THE_OPERATOR = "Ask whoever runs this server to list {} in AGENTVALET_PRIVATE_TARGETS, or use a public address."


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeDefinition:
    """`covers`: one sentence for the people who grant it; None leaves what is stored."""

    name: str
    rules: Sequence[str]
    covers: str | None = None
    step_up: str = StepUp.NONE.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A platform with its scopes. None leaves what is stored."""

    slug: str
    name: str
    base_url: str
    auth: Mapping[str, JSON]
    call_style: str = CallStyle.REST.value
    body_kind: str = BodyKind.JSON.value
    honours_idempotency_key: bool = False
    category: str | None = None
    test_call: Mapping[str, JSON] | None = None
    scopes: Sequence[ScopeDefinition] = field(default_factory=list)


def body_kind_of(word: str) -> str:
    """`body` as the catalogue and provisioning files have it: json, form or flat-form. Raises ValueError."""
    return BodyKind.JSON.value if word == "json" else BodyKind(word).value


def parse_rules(rules: Sequence[str], *, call_style: str) -> list[str]:
    """The rules as they are stored. Raises ValueError with a sentence."""
    for rule in rules:
        if (method := parse_rule(rule).method) not in _METHODS:
            raise ValueError(f'{rule!r}: {method} is not a method of HTTP. Write GET, POST, …, or "*" for any.')
    if call_style == CallStyle.GRAPHQL and list(rules) != ["POST /"]:
        raise ValueError('A GraphQL platform has one address: the only rule is "POST /".')
    if call_style == CallStyle.MCP and not all(TOOL.fullmatch(rule.removeprefix("POST /")) for rule in rules):
        raise ValueError('The rules of an MCP server name its tools, each as in "POST /echo".')
    return list(rules)


def mcp_test_call() -> dict[str, JSON]:
    """The call that tests a connection to an MCP server: a session is opened, and no tool called."""
    return {"method": "POST", "endpoint": "/", "body": INITIALIZE, "identity": {}}


def parse_test_call(
    *, endpoint: str = "", query: str = "", identity: Mapping[str, str] | None = None
) -> dict[str, JSON]:
    """The call that tests a connection, as it is stored: a GET of `endpoint`, or the GraphQL `query`.

    `identity` says where in the answer account_id, display_name and email are. Raises ValueError with a sentence.
    """
    if bool(endpoint) == bool(query):
        raise ValueError("A test call is either an endpoint that is fetched or a GraphQL query.")
    for name, path in (identity or {}).items():
        if name not in IDENTITY_FIELDS or not _PATH.fullmatch(path):
            raise ValueError("Write where it stands as names with dots between, as in user.email.")
    where = {name: path for name, path in (identity or {}).items() if path}
    if endpoint:
        parse_endpoint(endpoint)
        return {"method": "GET", "endpoint": endpoint, "body": None, "identity": where}
    if len(query) > MAX_QUERY or _CHANGES.search(query):
        raise ValueError("The query of a test only reads: no mutation, no subscription, 2,000 characters at most.")
    return {"method": "POST", "endpoint": "/", "body": json.dumps({"query": query}), "identity": where}


def refused_target(base_url: str, *, remedy: str = ASK_THE_OPERATOR) -> str:
    """Why a platform may not be at this address and what to do about it, or "".

    Names are looked at again whenever they are connected to. `{}` in `remedy` is the host and port.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host.strip("[]")
    if not address.replace(".", "").isdigit() and ":" not in address:
        return ""
    try:
        check_address(address, port, host=host, allowed=parse_private_targets(settings.PRIVATE_TARGETS))
    except TargetRefused as error:
        return f"{error} {remedy.format(f'{host}:{port}')}"
    return ""
