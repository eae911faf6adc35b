"""What is made of a token URL's answer: what ends a grant, what is said of it, and how long a token is good."""

import json
from typing import Any

import pytest

from platforms.client import PlatformResponse
from platforms.credentials import parse_auth
from platforms.refresh_grants import NotRenewed, RefreshGrant, Renewed, read_answer

AUTH = parse_auth({"type": "bearer", "refresh": {"token_url": "https://auth.example.com/token", "client": "body"}})


def read(status: int, said: Any) -> Renewed:
    assert AUTH.refresh is not None
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    response = PlatformResponse(status=status, headers={}, body=body)
    return read_answer(AUTH, AUTH.refresh, response)


@pytest.mark.parametrize(
    ("status", "said", "code", "shown"),
    [
        (400, {"error": "invalid_grant"}, "reauth_needed", "(invalid_grant)"),
        (401, {"error": "invalid_client"}, "reauth_needed", "(invalid_client)"),
        (200, {"ok": False, "error": "invalid_refresh_token"}, "reauth_needed", "(invalid_refresh_token)"),
        (200, {"error": "bad_refresh_token"}, "reauth_needed", "(bad_refresh_token)"),
        (400, {"error": "a_word_of_their_own"}, "reauth_needed", "(400)"),
        (400, {"error": "Xy9SecretRefreshToken0123456789"}, "reauth_needed", "(400)"),
        (400, {"error": "temporarily_unavailable"}, "token_unavailable", "(temporarily_unavailable)"),
        (429, {"error": "slow_down"}, "token_unavailable", "(slow_down)"),
        (403, b"<html>Request blocked</html>", "token_unavailable", "(403)"),
        (400, {}, "token_unavailable", "(400)"),
        (400, ["invalid_grant"], "token_unavailable", "(400)"),
        (401, {"error": {"code": "invalid_grant"}}, "token_unavailable", "(401)"),
        (401, {"error": True}, "token_unavailable", "(401)"),
        (503, {"error": "invalid_grant"}, "token_unavailable", "(invalid_grant)"),
    ],
)
def test_only_a_word_of_the_token_url_ends_a_grant_and_only_known_words_are_repeated(
    status: int, said: Any, code: str, shown: str
) -> None:
    with pytest.raises(NotRenewed) as refused:
        read(status, said)
    assert refused.value.code == code
    assert shown in str(refused.value)


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [(3600, 3600), ("60", 60), (10**9, 86400), (0, 0), ("0", 0), (-5, 0), (0.5, 0),
     (None, 600), ("soon", 600), (True, 600), ([], 600), (1e99, 600)],
)  # fmt: skip
def test_a_token_is_good_for_as_long_as_is_said(expires_in: Any, life: int) -> None:
    assert read(200, {"access_token": "a-token", "expires_in": expires_in}).life == life


def test_no_secret_is_in_a_repr() -> None:
    told = repr(RefreshGrant(client_id="our-client", client_secret="s3cret", refresh_token="r3fresh", given="g1ven"))
    told += repr(Renewed(access_token="acc3ss", life=5, refresh_token="r3fresh"))
    assert "our-client" in told
    assert not any(secret in told for secret in ("s3cret", "r3fresh", "acc3ss", "g1ven"))
