"""The platforms that are known from the start: every file is what the schema says and what the parsers take."""

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pytest_django.fixtures import Settings

from platforms.catalogue import FOLDER, FieldRefused, entries
from platforms.credentials import apply, parse_auth
from platforms.endpoints import covers, join_url, parse_base_url, parse_endpoint, parse_rule
from platforms.models import SCOPE_NAME, SLUG

FILES = sorted(FOLDER.glob("*.yaml"))
EVERY_FILE = pytest.mark.parametrize("name", [path.stem for path in FILES])
NAMED = {"slack", "github", "stripe", "airtable", "gmail", "notion", "linear", "jira", "hubspot", "google-calendar"}


def read(name: str) -> dict[str, Any]:
    data = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert isinstance(data, dict)
    return data


def filled(name: str) -> dict[str, str]:
    return {field.name: field.default or field.example for field in entries()[name].fields}


def test_there_are_well_known_ones_in_every_category() -> None:
    assert len(FILES) >= 20
    assert {path.stem for path in FILES} >= NAMED
    schema = json.loads((FOLDER / "schema.json").read_text())
    assert {entry.category for entry in entries().values()} == set(schema["properties"]["category"]["enum"])


@EVERY_FILE
def test_a_file_is_what_the_schema_says(name: str) -> None:
    schema = json.loads((FOLDER / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    complaints = [error.message for error in Draft202012Validator(schema).iter_errors(read(name))]
    assert complaints == []
    assert read(name)["id"] == name


@EVERY_FILE
def test_a_platform_can_be_made_of_it(name: str) -> None:
    definition = entries()[name].definition(slug=name, fields=filled(name))
    SLUG(definition.slug)
    assert parse_base_url(definition.base_url) == definition.base_url
    assert "{" not in definition.base_url
    for scope in definition.scopes:
        SCOPE_NAME(scope.name)
        assert scope.covers


@EVERY_FILE
def test_every_rule_covers_a_call_that_can_be_made(name: str) -> None:
    for scope, said in read(name)["scopes"].items():
        for text in said["rules"]:
            rule = parse_rule(text)
            some = "/" + "/".join("x" if part in {"*", "**"} else part for part in rule.segments)
            assert parse_endpoint(some).path == some
            assert covers([rule], method=rule.method, path=some), (scope, text)
            assert not covers([rule], method="TRACE", path=some)


@EVERY_FILE
def test_scopes_that_only_read_say_so_and_no_other_does(name: str) -> None:
    """A POST in a scope called read is a search: it must be one that the platform documents as such."""
    searches = ("/search", "/query", "/read", "/freeBusy", "/search/jql")
    for scope, said in read(name)["scopes"].items():
        if scope.endswith(":read"):
            for rule in said["rules"]:
                assert rule.startswith("GET ") or rule.endswith(searches), (scope, rule)


@EVERY_FILE
def test_the_test_call_reads_and_carries_the_credential(name: str) -> None:
    entry = entries()[name]
    call = entry.test_call
    assert (call["method"], bool(call["body"])) == (("POST", True) if entry.call_style == "graphql" else ("GET", False))
    definition = entry.definition(slug=name, fields=filled(name))
    url, headers = apply(
        parse_auth(entry.auth),
        "user:password" if entry.auth["type"] == "basic" else "s3cret",
        url=join_url(definition.base_url, parse_endpoint(str(call["endpoint"]))),
        headers=[],
    )
    assert url.startswith("https://")
    assert headers


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("jira", {}),
        ("jira", {"site": ""}),
        ("jira", {"site": "acme.atlassian.net"}),
        ("jira", {"site": "evil.example/"}),
        ("jira", {"site": "acme@evil"}),
        ("jira", {"site": "-acme"}),
        ("jira", {"site": "{site}"}),
        ("zendesk", {"subdomain": "a?b"}),
        ("zendesk", {"subdomain": "a#b"}),
        ("zendesk", {"subdomain": "a\nb"}),
        ("gitlab", {"host": "https://gitlab.com"}),
        ("gitlab", {"host": "gitlab.com/path"}),
        ("gitlab", {"host": "user@gitlab.com"}),
        ("gitlab", {"host": "gitlab.com:99999"}),
        ("gitlab", {"host": "127.1"}),
        ("gitlab", {"host": "127.0.0.1"}),
        ("gitlab", {"host": "localhost:8080"}),
        ("gitlab", {"host": "169.254.169.254"}),
        ("shopify", {"shop": "acme", "version": "../../x"}),
    ],
)
def test_what_is_filled_in_stays_a_part_of_the_address(name: str, fields: dict[str, str]) -> None:
    with pytest.raises(FieldRefused) as refused:
        entries()[name].definition(slug=name, fields=fields)
    assert refused.value.field in {field.name for field in entries()[name].fields}


def test_platforms_that_take_forms_are_made_so() -> None:
    kinds = {name: entry.definition(slug=name, fields=filled(name)).body_kind for name, entry in entries().items()}
    assert {name: kind for name, kind in kinds.items() if kind} == {"stripe": "form", "twilio": "flat-form"}


def test_a_private_server_is_reached_once_the_operator_lists_it(settings: Settings) -> None:
    settings.PRIVATE_TARGETS = ["10.1.2.3:8443"]
    definition = entries()["gitlab"].definition(slug="gitlab", fields={"host": "10.1.2.3:8443"})
    assert definition.base_url == "https://10.1.2.3:8443/api/v4"
