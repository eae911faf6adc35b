"""Every route of the agent API fails in one shape: wrong method, wrong body, no identity, a stranger's."""

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django.fixtures import Settings

from agentvalet.errors import envelope
from agentvalet.openapi import description
from tests.api.routes import Route, api_routes
from tests.world import Side, assertion, bearer, private_key

ROUTES = api_routes()
IDS = [route.template for route in ROUTES]
GONE = {"/functions/v1/cli-account", "/v1/cli/account", "/v1/cli/register-agent"}  # 410, whatever is sent


@pytest.fixture(autouse=True)
def unlimited(settings: Settings) -> None:
    settings.ANONYMOUS_PER_MINUTE = settings.ACTIONS_PER_MINUTE = 0
    cache.clear()


def needs_identity(route: Route) -> bool:
    operations = description()["paths"][route.template].values()
    return any(any(operation.get("security", [])) for operation in operations)


def checked(response: Any, *statuses: int) -> dict[str, Any]:
    """The body of an answer with one of these statuses, which must be the envelope and nothing but JSON."""
    assert response.status_code in statuses, (response.status_code, response.content[:300])
    assert response["Content-Type"] == "application/json"
    body: dict[str, Any] = response.json()
    assert isinstance(body["error"], str)
    assert body["error"]
    assert body["correlation_id"] == response["X-Request-Id"]
    assert body["report_hint"]["correlation_id"] == body["correlation_id"]
    assert "{action}" in body["report_hint"]["narrative_template"]
    assert all(value is not None for value in body.values())
    if response.status_code == 403:
        assert body.get("reason") or body.get("code"), body
    if response.status_code == 401:
        assert response["WWW-Authenticate"].startswith("Bearer")
    return body


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_a_method_that_is_not_there_is_a_405_that_says_which_are(client: Client, acme: Side, route: Route) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(route.methods):
        headers = {} if route.template.startswith("/functions/") else bearer(acme.agent)
        response = client.generic(method, route.path, headers=headers)
        checked(response, 401 if needs_identity(route) and not headers else 405)
        if response.status_code == 405:
            assert set(response["Allow"].split(", ")) >= set(route.methods)


NO_IDENTITY = [
    {},
    {"Authorization": "Basic dXNlcjpwYXNz"},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer x"},
    {"Authorization": "Bearer " + "a" * 9000},
    {"Authorization": "Bearer é"},
]
PROTECTED = [route for route in ROUTES if needs_identity(route)]


@pytest.mark.parametrize("route", PROTECTED, ids=lambda route: route.template)
def test_without_an_identity_it_is_a_401(client: Client, db: None, route: Route) -> None:
    for headers in NO_IDENTITY:
        for method in route.methods:
            checked(client.generic(method, route.path, "{}", "application/json", headers=headers), 401)


@pytest.mark.parametrize("route", PROTECTED, ids=lambda route: route.template)
def test_an_agent_of_another_owner_is_a_401(client: Client, acme: Side, stranger: Side, route: Route) -> None:
    """Rightly signed with the stranger's key, in the name of ours."""
    token = assertion(acme.agent, key=stranger.agent.name)
    assert private_key(stranger.agent.name) != private_key(acme.agent.name)
    for method in route.methods:
        headers = {"Authorization": f"Bearer {token}"}
        checked(client.generic(method, route.path, "{}", "application/json", headers=headers), 401)


BODIES: list[tuple[str, bytes, str, int]] = [
    ("no JSON", b"{", "application/json", 400),
    ("an array", b"[]", "application/json", 400),
    ("a string", b'"x"', "application/json", 400),
    ("a number", b"1", "application/json", 400),
    ("null", b"null", "application/json", 400),
    ("not UTF-8", b'{"a":"\xff"}', "application/json", 400),
    ("a key twice", b'{"a":1,"a":1}', "application/json", 400),
    ("NaN", b'{"a":NaN}', "application/json", 400),
    ("too deep", b"[" * 200 + b"]" * 200, "application/json", 400),
    ("too large", b" " * (1024 * 1024 + 1), "application/json", 413),
    ("a form", b"a=1", "application/x-www-form-urlencoded", 415),
    ("text", b"{}", "text/plain", 415),
    ("XML", b"<a/>", "application/xml", 415),
    ("no type", b"{}", "", 415),
]
# What agents prove themselves for before they send a body; the command line's session is tested with it.
POSTED = [
    route
    for route in ROUTES
    if "POST" in route.methods and route.template not in GONE and not route.template.startswith("/functions/v1/cli-r")
    and route.template != "/functions/v1/revoke-agent"
]  # fmt: skip
# Whatever is sent, the answer is {"ok": true}: nothing is to be learnt from it.
DEAF = {"/v1/bind-secret"}


@pytest.mark.parametrize("route", [r for r in POSTED if r.template not in DEAF], ids=lambda route: route.template)
@pytest.mark.parametrize(("raw", "kind", "status"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_is_no_request_is_refused(
    client: Client, acme: Side, route: Route, raw: bytes, kind: str, status: int
) -> None:
    headers = bearer(acme.agent) if needs_identity(route) else {}
    headers |= {"X-AV-Observe-Credential": "own"}
    body = checked(client.generic("POST", route.path, raw, kind, headers=headers), status)
    assert "Traceback" not in json.dumps(body)
    assert (body["error"] == "Send the body as application/json.") == (status == 415)


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_the_answer_is_json_whatever_a_client_says_it_accepts(client: Client, acme: Side, route: Route) -> None:
    for method in route.methods:
        plain = client.generic(method, route.path, "{}", "application/json", headers=bearer(acme.agent))
        for accept in ("text/html", "text/event-stream", "application/xml", "nonsense", ""):
            headers = {"Accept": accept} | bearer(acme.agent)
            response = client.generic(method, f"{route.path}?format=xml", "{}", "application/json", headers=headers)
            assert response.status_code == plain.status_code
            if response.status_code >= 400:
                checked(response, *range(400, 500))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/", "/v1/nothing", "/v1/actions/", "/v1//actions", "/v1/approvals/", "/v1/approvals/not-a-uuid",
        "/v1/approvals/00000000-0000-4000-8000-000000000000/", "/v1/approvals/..%2f..%2fadmin", "/v1/%00", "/v1/\u202e",
        "/functions/v1/nothing", "/functions/", "/v1/openapi.json/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_is_not_there_is_a_404_in_json(client: Client, db: None, path: str, method: str) -> None:
    assert checked(client.generic(method, path), 404)["code"] == "not_found"


def test_a_page_that_is_not_there_is_no_json(client: Client, db: None) -> None:
    assert client.get("/nothing")["Content-Type"].startswith("text/html")


def test_a_failure_of_ours_has_the_same_shape_and_tells_nothing(acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("approvals.api.submit_action", fail)
    client = Client(raise_request_exception=False)
    call = {"platform": "acme-chat", "endpoint": "/x", "scope": "chat:read"}
    response = client.post("/v1/actions", call, content_type="application/json", headers=bearer(acme.agent))
    body = checked(response, 500)
    assert body["code"] == "internal_server_error"
    assert "swordfish" not in response.content.decode()


def test_the_envelope_leaves_out_what_there_is_nothing_to_say_about() -> None:
    assert set(envelope("Bad.", request_id="1")) == {"error", "correlation_id", "report_hint"}
    assert set(envelope("Bad.", request_id="1", reason="r", code="c")) >= {"reason", "code"}
