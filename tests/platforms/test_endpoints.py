"""Endpoints have one spelling, rules cover what they say, base URLs name one host."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platforms.endpoints import (
    Endpoint,
    EndpointRefused,
    Rule,
    covers,
    join_url,
    parse_base_url,
    parse_endpoint,
    parse_rule,
)
from tests.platforms.hostile_endpoints import (
    ACCEPTED_BASE_URLS,
    ACCEPTED_ENDPOINTS,
    REFUSED_BASE_URLS,
    REFUSED_ENDPOINTS,
)

ANYTHING = [parse_rule("* /**")]

# Text that is likely to get through, and to be wrong in an interesting way.
_PIECES = st.sampled_from(
    [
        "/",
        ".",
        "..",
        "a",
        "B",
        "api",
        "%",
        "25",
        "2",
        "e",
        "2f",
        "5c",
        "00",
        "%2e",
        "%2E",
        "%252e",
        "%2F",
        "%25",
        "%C3%A9",
        "%EF%BC%8E",
        "%C0%AE",
        "%20",
        "~",
        "%7e",
        "*",
        "**",
        ";",
        "?",
        "#",
        "\\",
        "@",
        ":",
        "\n",
        "é",
        "=",
        "&",
    ]
)
_ENDPOINTS = st.lists(_PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces)) | st.text(max_size=40)


@pytest.mark.parametrize(("endpoint", "why"), REFUSED_ENDPOINTS, ids=[why for _, why in REFUSED_ENDPOINTS])
def test_a_hostile_endpoint_is_refused_with_a_sentence(endpoint: str, why: str) -> None:
    with pytest.raises(EndpointRefused) as refused:
        parse_endpoint(endpoint)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)
    assert not covers(ANYTHING, method="GET", path=endpoint)


@pytest.mark.parametrize(("endpoint", "path", "query"), ACCEPTED_ENDPOINTS)
def test_an_endpoint_is_normalised_to_what_is_sent(endpoint: str, path: str, query: str) -> None:
    assert parse_endpoint(endpoint) == Endpoint(path=path, query=query)
    assert covers(ANYTHING, method="GET", path=path)


@given(_ENDPOINTS)
def test_what_is_accepted_reads_as_itself(endpoint: str) -> None:
    try:
        first = parse_endpoint(endpoint)
    except EndpointRefused:
        return
    again = parse_endpoint(f"{first.path}?{first.query}" if first.query else first.path)
    assert again == first


@given(_ENDPOINTS)
def test_nothing_with_dot_segments_is_ever_covered(path: str) -> None:
    decoded = path
    for _ in range(5):
        decoded = unquote(decoded)
        if any(segment in {".", ".."} for segment in decoded.replace("\\", "/").split("/")):
            assert not covers(ANYTHING, method="GET", path=path)


@given(_ENDPOINTS)
def test_decoding_never_changes_the_segments_of_an_accepted_path(endpoint: str) -> None:
    try:
        path = parse_endpoint(endpoint).path
    except EndpointRefused:
        return
    assert unquote(path).count("/") == unquote(unquote(path)).count("/") == path.count("/")


@pytest.mark.parametrize(
    ("rule", "call", "covered"),
    [
        ("GET /api/messages", "GET /api/messages", True),
        ("GET /api/messages", "POST /api/messages", False),
        ("GET /api/messages", "get /api/messages", False),
        ("GET /api/messages", "GET /api/Messages", False),
        ("GET /api/messages", "GET /api/messages/", False),
        ("GET /api/messages/", "GET /api/messages/", True),
        ("GET /api/messages", "GET /api/messages/1", False),
        ("GET /api/messages", "GET /api", False),
        ("GET /api/messages", "GET /api/messagesx", False),
        ("* /api/messages", "PATCH /api/messages", True),
        ("GET /", "GET /", True),
        ("GET /", "GET /x", False),
        ("DELETE /api/messages/*", "DELETE /api/messages/1", True),
        ("DELETE /api/messages/*", "DELETE /api/messages/1/2", False),
        ("DELETE /api/messages/*", "DELETE /api/messages", False),
        ("DELETE /api/messages/*", "DELETE /api/messages/", False),
        ("DELETE /api/messages/*", "DELETE /api/messages/1/", False),
        ("GET /*/x/*", "GET /a/x/b", True),
        ("GET /*/x/*", "GET /a/y/b", False),
        ("GET /api/**", "GET /api", True),
        ("GET /api/**", "GET /api/", True),
        ("GET /api/**", "GET /api/a/b/c", True),
        ("GET /api/**", "GET /apix", False),
        ("GET /api/**", "GET /", False),
        ("GET /**", "GET /", True),
        ("GET /**/x", "GET /x", True),
        ("GET /**/x", "GET /a/x/b/x", True),
        ("GET /**/x", "GET /a/x/b", False),
        ("GET /a/**/b/**/c", "GET /a/b/c", True),
        ("GET /a/**/b/**/c", "GET /a/1/b/2/3/c", True),
        ("GET /a/**/b/**/c", "GET /a/1/c/b", False),
        ("GET /**/*", "GET /a", True),
        ("GET /**/*", "GET /a/", False),
        ("GET /caf%c3%a9/%7Ex", "GET /caf%C3%A9/~x", True),
        ("GET /repos/*/*/issues", "GET /repos/o/r/issues", True),
    ],
)
def test_a_rule_covers_what_it_says(rule: str, call: str, covered: bool) -> None:
    method, path = call.split(" ")
    assert covers([parse_rule(rule)], method=method, path=path) is covered


def test_only_the_normal_spelling_of_a_path_is_covered() -> None:
    assert not covers(ANYTHING, method="GET", path="/api/%6dessages")
    assert not covers(ANYTHING, method="GET", path="/api?x=1")


def test_no_rules_cover_nothing() -> None:
    assert not covers([], method="GET", path="/")


def test_one_of_several_rules_is_enough() -> None:
    rules = [parse_rule("GET /a"), parse_rule("POST /b")]
    assert covers(rules, method="POST", path="/b")
    assert not covers(rules, method="GET", path="/b")


def test_many_wildcards_do_not_take_for_ever() -> None:
    rule = Rule(method="GET", segments=("**", "a") * 200 + ("b",))
    assert not covers([rule], method="GET", path="/" + "/".join("a" * 3000))


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "GET",
        "GET ",
        "/api",
        "get /api",
        "GET  /api",
        " GET /api",
        "GET\t/api",
        "GET api",
        "GET /api/foo*",
        "GET /api/***",
        "GET /a*b/c",
        "GET /api?x=1",
        "GET /api/..",
        "GET /api/%2e%2e",
        "GET /api//x",
        "GET https://x/",
        "** /api",
        "GET /a b",
        "GÉT /api",
        "GET /api\n",
        "GETGETGETGETGETGET /api",
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_a_sentence(rule: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse_rule(rule)


@pytest.mark.parametrize(("text", "why"), REFUSED_BASE_URLS, ids=[why for _, why in REFUSED_BASE_URLS])
def test_a_hostile_base_url_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse_base_url(text)


@pytest.mark.parametrize(("text", "normal"), ACCEPTED_BASE_URLS)
def test_a_base_url_is_normalised(text: str, normal: str) -> None:
    assert parse_base_url(text) == normal
    assert parse_base_url(normal) == normal


@pytest.mark.parametrize(
    ("base_url", "endpoint", "url"),
    [
        ("https://api.example.com", "/", "https://api.example.com/"),
        ("https://api.example.com", "/a/b?c=d", "https://api.example.com/a/b?c=d"),
        ("https://api.example.com/v1", "/a", "https://api.example.com/v1/a"),
        ("https://api.example.com/v1/", "/a", "https://api.example.com/v1/a"),
        ("https://api.example.com/graphql", "/", "https://api.example.com/graphql"),
        ("https://api.example.com/graphql/", "/?q=1", "https://api.example.com/graphql/?q=1"),
    ],
)
def test_an_endpoint_is_joined_to_its_base_url(base_url: str, endpoint: str, url: str) -> None:
    assert join_url(parse_base_url(base_url), parse_endpoint(endpoint)) == url
