"""The OpenAPI description: complete, valid, public, and the same as a page."""

import json
from functools import cache
from typing import Any

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema

from agentvalet.openapi import description
from tests.api.routes import api_routes


@cache
def document() -> dict[str, Any]:
    return json.loads(json.dumps(description()))  # type: ignore[no-any-return]


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, each) for path, methods in document()["paths"].items() for method, each in methods.items()]


def test_every_route_of_the_api_is_described_and_nothing_else() -> None:
    routed = {(route.template, method.lower()) for route in api_routes() for method in route.methods}
    described = {(path, method) for path, method, _ in operations()}
    assert described == routed
    assert len(routed) >= 25


def test_the_document_is_valid_openapi_3_1() -> None:
    assert document()["openapi"].startswith("3.1.")
    validate_schema(document())  # type: ignore[no-untyped-call]


def test_nothing_had_to_be_guessed() -> None:
    """Neither a view without a serializer nor two things of one name."""
    description.cache_clear()
    description()
    assert not GENERATOR_STATS._warn_cache
    assert not GENERATOR_STATS._error_cache


@pytest.mark.parametrize(("path", "method", "operation"), operations(), ids=lambda value: str(value)[:40])
def test_each_operation_says_what_it_is_and_how_it_can_fail(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["description"], path
    assert operation["operationId"].startswith(f"{method}_")
    answers = operation["responses"]
    assert {"429", "500"} <= answers.keys()
    if method == "post" and "requestBody" in operation:
        assert {"400", "413", "415"} <= answers.keys()
    if operation.get("security"):
        assert {"401", "403"} <= answers.keys()
    for status, answer in answers.items():
        assert answer["description"], status
        assert not answer["description"].startswith(("`", status)), "a heading of the code's own"


def test_identities_are_described(client: Client) -> None:
    schemes = document()["components"]["securitySchemes"]
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer"}
    open_paths = {path for path, _, operation in operations() if not any(operation.get("security", []))}
    assert "/v1/actions" not in open_paths
    assert "/v1/register" in open_paths


def test_the_document_is_served_to_anybody(client: Client, db: None) -> None:
    response = client.get("/v1/openapi.json")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response.json() == document()


def test_the_page_lists_every_operation_without_a_script(client: Client, db: None) -> None:
    response = client.get("/api-docs")
    page = response.content.decode()
    assert response.status_code == 200
    for path, method, operation in operations():
        assert f'id="{operation["operationId"]}"' in page
        assert f"<code>{path}</code>" in page
        assert method.upper() in page
    for word in ("connection_id", "≤ 63 characters", "correlation_id", "required", "RS256"):
        assert word in page
    assert "<p>`" not in page
    assert page.index("post_v1_actions") < page.index("post_functions_v1_cli_auth"), "what agents do most comes first"
    assert "<script" not in page
    assert "style=" not in page
    assert "script-src 'self'" in response["Content-Security-Policy"]


def test_the_page_is_read_and_not_posted_to(client: Client, db: None) -> None:
    assert client.post("/api-docs").status_code == 405


def test_the_key_of_a_repeated_call_is_described() -> None:
    operation = document()["paths"]["/v1/actions"]["post"]
    (key,) = [each for each in operation["parameters"] if each["name"] == "Idempotency-Key"]
    assert (key["in"], key.get("required", False)) == ("header", False)
    assert {"409", "503"} <= operation["responses"].keys()
