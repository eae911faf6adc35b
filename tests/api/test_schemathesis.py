"""The server against its own OpenAPI description: generated requests, valid and not, through WSGI.

`make test` runs a few examples per operation, `make fuzz` many (SCHEMATHESIS_EXAMPLES).
"""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from pytest_django.fixtures import Settings
from schemathesis import Case, CheckContext, Response
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agents.models import CliToken
from agents.onetime import hash_of, new_secret
from agentvalet.openapi import description
from agentvalet.wsgi import application
from tests.api.routes import api_routes
from tests.world import Side, bearer

pytestmark = [pytest.mark.schemathesis, pytest.mark.long]
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "8"))


def no_failure_of_ours(context: CheckContext, response: Response, case: "Case[Any]") -> None:
    """A 5xx is a failure, but for the 502 and 504 that stand for a platform's."""
    if case.path not in {"/v1/actions", "/v1/observe/actions"} or response.status_code not in {502, 504}:
        not_a_server_error(context, response, case)


def invalid_is_refused(context: CheckContext, response: Response, case: "Case[Any]") -> None:
    """410 is a refusal too, which schemathesis does not know: white space around a code is no reason to refuse it."""
    if response.status_code != 410:
        negative_data_rejection(context, response, case)


CHECKS = [
    no_failure_of_ours,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [(method, route.template) for route in api_routes() for method in route.methods]
DEAF = "/v1/bind-secret"  # answers the same whatever it is sent, as the contract wants


def takes_invalid(method: str, path: str) -> bool:
    """Whether a request to it can be invalid at all: a token in a path may be any text."""
    operation = description()["paths"][path][method.lower()]
    return path != DEAF and ("requestBody" in operation or "{approval_id}" in path)


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """The server answers inside the test's transaction; Django's own test client does the same."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def command_line(side: Side) -> dict[str, str]:
    now = timezone.now()
    token = new_secret("avcli")
    CliToken.objects.create(
        member=side.admin, token_hash=hash_of(token), created_at=now, expires_at=now + timedelta(days=1)
    )
    return {"Authorization": f"Bearer {token}"}


def inside(case: "Case[Any]") -> bool:
    """Turn a valid call into one that the agent's grants cover, so that it gets further than the first refusal."""
    if not isinstance(case.body, dict) or "platform" not in case.body:
        return False
    case.body = case.body | {"platform": "acme-chat", "scope": "chat:read"}
    if isinstance(endpoint := case.body.get("endpoint"), str):
        case.body["endpoint"] = f"/{endpoint}"
    return True


CASES = [
    (method, path, mode)
    for method, path in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or takes_invalid(method, path)
]


@pytest.mark.parametrize(("method", "path", "mode"), CASES, ids=lambda value: str(getattr(value, "value", value)))
def test_no_request_breaks_the_server_or_its_word(
    acme: Side, settings: Settings, method: str, path: str, mode: GenerationMode
) -> None:
    settings.ANONYMOUS_PER_MINUTE = settings.ACTIONS_PER_MINUTE = 0
    operation = schemathesis.openapi.from_wsgi("/v1/openapi.json", application)[path][method]
    checks = [*CHECKS, invalid_is_refused] if mode is GenerationMode.NEGATIVE else CHECKS
    session = command_line(acme) if path.startswith("/functions/") else {}

    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize="SCHEMATHESIS_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    @given(case=operation.as_strategy(mode))
    def send(case: "Case[Any]") -> None:
        case.call_and_validate(headers=session or bearer(acme.agent), checks=checks)
        if mode is GenerationMode.POSITIVE and inside(case):
            case.call_and_validate(headers=session or bearer(acme.agent), checks=checks)

    send()
