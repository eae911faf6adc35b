"""The credential goes where the platform wants it, and nowhere else."""

import base64

import pytest

from platforms.credentials import Auth, apply, check_credential, parse_auth

URL = "https://api.example.com/messages"


@pytest.mark.parametrize(
    ("value", "auth"),
    [
        ({"type": "bearer"}, Auth("bearer")),
        ({"type": "basic"}, Auth("basic")),
        ({"type": "header", "name": "X-Api-Key"}, Auth("header", "X-Api-Key")),
        ({"type": "header", "name": "Authorization"}, Auth("header", "Authorization")),
        ({"type": "query", "name": "api_key"}, Auth("query", "api_key")),
    ],
)
def test_a_placement_is_read(value: dict[str, object], auth: Auth) -> None:
    assert parse_auth(value) == auth


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"type": "oauth"},
        {"type": None},
        {"type": ["bearer"]},
        {"type": "bearer", "name": "X-Api-Key"},
        {"type": "bearer", "token": "secret"},
        {"type": "header"},
        {"type": "header", "name": ""},
        {"type": "header", "name": 1},
        {"type": "header", "name": "X-Api-Key: x"},
        {"type": "header", "name": "X-Api-Key\r\nX-Injected"},
        {"type": "header", "name": "X-Api-K\u00e9y"},
        {"type": "header", "name": "Host"},
        {"type": "header", "name": "content-length"},
        {"type": "header", "name": "Transfer-Encoding"},
        {"type": "header", "name": "Idempotency-Key"},
        {"type": "query"},
        {"type": "query", "name": "a=b&c"},
        {"type": "query", "name": "a#b"},
        {"type": "query", "name": "a\n"},
        {"type": "bearer", "prefix": "Token "},
        {"type": "header", "name": "Authorization", "prefix": " Token"},
        {"type": "header", "name": "Authorization", "prefix": "a\r\nb"},
        {"type": "header", "name": "Authorization", "prefix": "x" * 33},
        {"type": "header", "name": "Authorization", "prefix": 5},
        {"type": "bearer", "headers": ["X-Version"]},
        {"type": "bearer", "headers": {"X-Version": 5}},
        {"type": "bearer", "headers": {"X-Version": ""}},
        {"type": "bearer", "headers": {"X-Version": "1\r\nX-Injected: 2"}},
        {"type": "bearer", "headers": {"X-Version": "\u00e9"}},
        {"type": "bearer", "headers": {"X-Version:": "1"}},
        {"type": "bearer", "headers": {"Host": "evil.example"}},
        {"type": "bearer", "headers": {"X-HTTP-Method-Override": "DELETE"}},
        {"type": "bearer", "headers": {"x-http-method": "DELETE"}},
        {"type": "bearer", "headers": {"X-Method-Override": "DELETE"}},
        {"type": "bearer", "headers": {"content-length": "5"}},
        {"type": "bearer", "headers": {"Authorization": "Bearer mine"}},
        {"type": "bearer", "headers": {"cookie": "session=1"}},
        {"type": "header", "name": "X-Api-Key", "headers": {"x-api-key": "mine"}},
        {"type": "bearer", "headers": {"X-Version": "1", "x-version": "2"}},
        {"type": "bearer", "headers": {f"X-{n}": "1" for n in range(11)}},
    ],
)
def test_a_placement_that_means_nothing_is_refused_with_a_sentence(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse_auth(value)


@pytest.mark.parametrize(
    ("auth", "credential"),
    [
        *[
            (Auth(kind, "x"), text)
            for kind in ("bearer", "header", "query", "basic")
            for text in ("", " ", "a:b\n", "a:\r\nX: 1")
        ],
        *[
            (Auth(kind, "x"), text)
            for kind in ("bearer", "header", "query", "basic")
            for text in (" a:b", "a:b ", "a:\x00b")
        ],
        *[
            (Auth(kind, "x"), text)
            for kind in ("bearer", "header", "query", "basic")
            for text in ("a:\x7f", "a:\ud800")
        ],
        *[(Auth(kind, "x"), "a:" + "b" * 16384) for kind in ("bearer", "header", "query", "basic")],
        (Auth("bearer"), "t\u00f6ken"),
        (Auth("bearer"), "Bearer token"),
        (Auth("header", "X-Api-Key"), "\u20ac"),
        (Auth("basic"), "no-colon"),
    ],
)
def test_a_credential_that_cannot_be_carried_is_refused_without_showing_it(auth: Auth, credential: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as refused:
        check_credential(auth, credential)
    assert not credential.strip() or credential not in str(refused.value)
    with pytest.raises(ValueError, match=r"\.$"):
        apply(auth, credential, url=URL, headers=[])


@pytest.mark.parametrize(
    ("auth", "credential", "header"),
    [
        (Auth("bearer"), "s3cret", ("Authorization", "Bearer s3cret")),
        (Auth("header", "X-Api-Key"), "s3cret with spaces", ("X-Api-Key", "s3cret with spaces")),
        (
            Auth("basic"),
            "user:p\u00e4ss:word",
            ("Authorization", "Basic " + base64.b64encode("user:p\u00e4ss:word".encode()).decode()),
        ),
    ],
)
def test_a_credential_travels_in_its_header(auth: Auth, credential: str, header: tuple[str, str]) -> None:
    assert apply(auth, credential, url=URL, headers=[("Accept", "*/*")]) == (URL, [("Accept", "*/*"), header])


def test_a_header_of_the_same_name_gives_way_to_the_credential() -> None:
    headers = [("authorization", "Bearer mine"), ("X", "1")]
    assert apply(Auth("bearer"), "theirs", url=URL, headers=headers)[1] == [
        ("X", "1"),
        ("Authorization", "Bearer theirs"),
    ]
    assert headers == [("authorization", "Bearer mine"), ("X", "1")]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, URL + "?api_key=s3%2F%26%3Dcret%20%C3%A9"),
        (URL + "?a=b", URL + "?a=b&api_key=s3%2F%26%3Dcret%20%C3%A9"),
        (URL + "?my_api_key=1", URL + "?my_api_key=1&api_key=s3%2F%26%3Dcret%20%C3%A9"),
    ],
)
def test_a_credential_travels_in_its_parameter(url: str, expected: str) -> None:
    assert apply(Auth("query", "api_key"), "s3/&=cret \u00e9", url=url, headers=[]) == (expected, [])


@pytest.mark.parametrize(
    "query",
    [
        "api_key=mine",
        "a=b&api_key=mine",
        "api_key",
        "API_KEY=mine",
        "api%5fkey=mine",
        "%61pi_key=mine",
        "api_key[]=mine",
        "a=b;api_key=mine",
        "+api_key=mine",
        "api.key=mine",
        "api%20key=mine",
        "api+key",
        "api[key=mine",
        "api_key[x=mine",
        "api_key%00x=mine",
    ],
)
def test_a_call_cannot_set_the_parameter_of_the_credential(query: str) -> None:
    with pytest.raises(ValueError, match=r"api_key.*\.$"):
        apply(Auth("query", "api_key"), "theirs", url=f"{URL}?{query}", headers=[])


def test_the_case_of_the_parameter_makes_no_difference() -> None:
    with pytest.raises(ValueError, match="sets the parameter"):
        apply(Auth("query", "apiKey"), "theirs", url=f"{URL}?apiKEY=mine", headers=[])


def test_a_prefix_and_the_headers_that_every_call_carries() -> None:
    auth = parse_auth(
        {"type": "header", "name": "Authorization", "prefix": "Token token=", "headers": {"X-Version": "2022-06-28"}}
    )
    sent = apply(auth, "s3cret", url=URL, headers=[("x-version", "an agent's"), ("Accept", "application/json")])
    assert sent == (
        URL,
        [("Accept", "application/json"), ("X-Version", "2022-06-28"), ("Authorization", "Token token=s3cret")],
    )
    url, headers = apply(
        parse_auth({"type": "query", "name": "key", "headers": {"X-Version": "1"}}), "s3cret", url=URL, headers=[]
    )
    assert (url, headers) == (f"{URL}?key=s3cret", [("X-Version", "1")])
