"""The form for a platform that is in no catalogue: what it makes, and what it says about each field that is wrong."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from platforms.models import Platform
from tests.pages.scene import Scene
from tests.pages.test_connections import state

GOOD = {
    "name": "Wiki",
    "slug": "wiki",
    "base_url": "https://wiki.example.com/api",
    "auth_type": "header",
    "auth_name": "Authorization",
    "auth_prefix": "Token ",
    "headers": "X-Version: 2\r\n",
    "test": "/me",
    "identity": "user.email",
    "scope": "pages:read",
    "covers": "Reads pages.",
    "rules": "GET /pages/**\r\n\r\nGET /spaces",
}


def test_a_custom_platform(scene: Scene, admin: Client) -> None:
    assert admin.post("/catalogue/custom", GOOD | {"body_kind": "form"})["Location"] == "/platforms/wiki/connect"
    made = Platform.objects.get(slug="wiki")
    assert made.body_kind == "form"
    assert b"an array a[0]=b" in admin.get("/platforms/wiki").content
    assert made.auth == {"type": "header", "name": "Authorization", "prefix": "Token ", "headers": {"X-Version": "2"}}
    assert made.test_call == {"method": "GET", "endpoint": "/me", "body": None, "identity": {"email": "user.email"}}
    assert made.scopes.get().rules == ["GET /pages/**", "GET /spaces"]
    graphql = {
        "slug": "gql",
        "call_style": "graphql",
        "rules": "POST /",
        "test": "{ me { id } }",
        "identity": "data.me.id",
    }
    assert admin.post("/catalogue/custom", GOOD | graphql).status_code == 303
    made = Platform.objects.get(slug="gql")
    assert json.loads(made.test_call["body"]) == {"query": "{ me { id } }"}  # type: ignore[index]


ASK = "Ask whoever runs this server to list {} in AGENTVALET_PRIVATE_TARGETS, or use a public address."


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"base_url": "http://127.0.0.1:9101"}, "base_url", ASK.format("127.0.0.1:9101")),
        ({"base_url": "http://localhost/"}, "base_url", ASK.format("localhost:80")),
        ({"base_url": "https://[::1]/"}, "base_url", "AGENTVALET_PRIVATE_TARGETS"),
        ({"base_url": "http://169.254.169.254/latest"}, "base_url", "AGENTVALET_PRIVATE_TARGETS"),
        ({"base_url": "https://user:pw@wiki.example.com"}, "base_url", "host"),
        ({"base_url": "file:///etc/passwd"}, "base_url", "base URL"),
        ({"token_url": "http://127.0.0.1:9101/token"}, "token_url", ASK.format("127.0.0.1:9101")),
        ({"auth_name": "Host"}, "auth_name", "This cannot be Host"),
        ({"auth_name": ""}, "auth_name", "This must be the name of the header"),
        ({"auth_prefix": "é"}, "auth_prefix", "This is up to 32 ASCII characters"),
        ({"headers": "Cookie: a"}, "headers", "This cannot set Cookie"),
        ({"headers": "Authorization: a"}, "headers", "This cannot set Authorization"),
        ({"headers": "no colon"}, "headers", "This has a name that is none"),
        ({"rules": "GET pages"}, "rules", "rule"),
        ({"rules": "GET /a\r\nFETCH /pages"}, "rules", "FETCH is not a method of HTTP."),
        ({"rules": "GET /a/../b"}, "rules", "no call can have"),
        ({"call_style": "graphql", "test": ""}, "rules", "only rule"),
        ({"call_style": "graphql", "rules": "POST /", "test": "mutation { delete }"}, "test", "only reads"),
        ({"test": "me"}, "test", "starts with"),
        ({"identity": "user email"}, "identity", "dots between"),
        ({"slug": "acme-chat"}, "slug", "already"),
        ({"scope": "a b"}, "scope", "letters"),
    ],
)
def test_a_custom_platform_that_will_not_do(
    scene: Scene, admin: Client, change: dict[str, str], field: str, said: str
) -> None:
    before = state()
    html = wrong(admin.post("/catalogue/custom", GOOD | change))
    assert marked(html) == [field]
    assert said in unescape(html)
    assert state() == before


def wrong(response: Any) -> str:
    assert response.status_code == 400
    return str(response.content.decode())


def marked(html: str) -> list[str]:
    """The fields that say what is wrong with them; what stands on top of the page leads to just these."""
    fields = re.findall('class="errorlist" id="id_(\\w+)_error"', html)
    assert re.findall('<li><a href="#id_(\\w+)">', html) == fields
    return fields


def test_every_field_that_is_wrong_is_marked_at_once(scene: Scene, admin: Client) -> None:
    change = {"slug": "Stock Room!", "base_url": "127.0.0.1:9178", "scope": "stock write", "rules": "FETCH /items"}
    change |= {"auth_name": "Host", "headers": "Cookie: a", "test": "me", "identity": "user email", "name": ""}
    html = wrong(admin.post("/catalogue/custom", GOOD | change))
    assert sorted(marked(html)) == sorted(change)
    assert "9 fields need another look." in html
    assert '<details class="panel desk-details" open>' in html
    alone = wrong(admin.post("/catalogue/custom", {"auth_type": "bearer"}))
    assert marked(alone) == ["name", "slug", "base_url", "scope", "rules"]
    assert '<details class="panel desk-details">' in alone


def test_what_the_chosen_kind_does_not_take_counts_for_nothing(scene: Scene, admin: Client) -> None:
    """The page has such fields hidden, with whatever was typed before another kind was chosen."""
    left = {"auth_type": "basic", "auth_name": "Host", "token_url": "https://id.example.com/token", "body_kind": "form"}
    left |= {"call_style": "mcp", "rules": "POST /search", "test": "no path", "identity": "no path"}
    assert admin.post("/catalogue/custom", GOOD | left).status_code == 303
    made = Platform.objects.get(slug="wiki")
    assert (made.auth, made.body_kind) == ({"type": "basic", "headers": {"X-Version": "2"}}, "")
    assert made.test_call is not None
    assert "initialize" in str(made.test_call["body"])


def test_a_private_target_that_the_operator_lists(admin: Client, settings: Settings) -> None:
    settings.PRIVATE_TARGETS = ["10.0.0.5:8443"]
    assert admin.post("/catalogue/custom", GOOD | {"base_url": "https://10.0.0.5:8443"}).status_code == 303
