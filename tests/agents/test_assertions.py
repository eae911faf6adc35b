"""Bearer assertions: what the published clients send is taken, everything else is a 401 that explains nothing."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from agents.authentication import Caller, record_turned_away
from agents.models import Agent, AgentKey
from audit.models import AuditEvent
from tests.world import Side, assertion, public_key, rsa_key

URL = f"/v1/approvals/{uuid4()}"  # nothing there: 404 means the token was taken


def status(client: Client, token: str, scheme: str = "Bearer") -> int:
    return int(client.get(URL, headers={"Authorization": f"{scheme} {token}"}).status_code)


def b64(data: bytes | dict[str, Any] | str) -> str:
    if isinstance(data, dict):
        data = json.dumps(data)
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(side: Side, **change: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"agent_id": side.agent.pk, "owner_id": str(side.owner.pk), "iat": now, "exp": now + 60} | change


def signed(side: Side, header: dict[str, Any] | str, payload: dict[str, Any] | str) -> str:
    """A token whose signature is right over exactly these header and payload bytes."""
    text = f"{b64(header)}.{b64(payload)}"
    signature = rsa_key(side.agent.name).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64(signature)}"


def hs256_with_the_public_key(side: Side) -> str:
    text = f"{b64({'alg': 'HS256'})}.{b64(claims(side))}"
    secret = public_key(side.agent.name).encode()
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def es256_with_zeros(side: Side) -> str:
    return f"{b64({'alg': 'ES256'})}.{b64(claims(side))}.{b64(bytes(64))}"


def es256(side: Side) -> str:
    return jwt.encode(claims(side), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256")


def unsigned(alg: str) -> Callable[[Side], str]:
    return lambda side: f"{b64({'alg': alg})}.{b64(claims(side))}."


def with_header(**more: Any) -> Callable[[Side], str]:
    return lambda side: signed(side, {"alg": "RS256"} | more, claims(side))


def with_claims(**change: Any) -> Callable[[Side], str]:
    return lambda side: signed(side, {"alg": "RS256"}, claims(side, **change))


def at(**seconds: float) -> Callable[[Side], str]:
    """Times as seconds from the moment the token is made."""

    def make(side: Side) -> str:
        now = int(time.time())
        return with_claims(**{name: now + value for name, value in seconds.items()})(side)

    return make


def without(name: str) -> Callable[[Side], str]:
    return lambda side: signed(side, {"alg": "RS256"}, {k: v for k, v in claims(side).items() if k != name})


def raw_payload(text: str) -> Callable[[Side], str]:
    return lambda side: signed(side, {"alg": "RS256"}, text)


def with_raw(name: str, value: str) -> Callable[[Side], str]:
    """One claim as this JSON text, the others as they should be."""

    def make(side: Side) -> str:
        body = json.dumps({key: said for key, said in claims(side).items() if key != name})
        return signed(side, {"alg": "RS256"}, f'{body[:-1]},"{name}":{value}}}')

    return make


def raw_header(text: str) -> Callable[[Side], str]:
    return lambda side: signed(side, f'{{"alg":"RS256",{text}}}', claims(side))


def twice(side: Side) -> str:
    text = json.dumps(claims(side))
    return signed(side, {"alg": "RS256"}, f'{text[:-1]}, "agent_id": "{side.agent.pk}"}}')


def tampered(change: Callable[[list[str]], list[str]]) -> Callable[[Side], str]:
    return lambda side: ".".join(change(assertion(side.agent).split(".")))


def uncanonical(side: Side) -> str:
    """The same bytes in another spelling of base64url: the last character's unused bits set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = assertion(side.agent)
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


HUGE = "1" * 5000  # more digits than Python turns into an integer
DEEP = "[" * 2700 + "]" * 2700  # as deep as fits into a token


HOSTILE: dict[str, Callable[[Side], str]] = {
    **{f"alg {alg}": unsigned(alg) for alg in ("none", "None", "NONE", "nOnE", "RS256")},
    "HS256 with the public key": hs256_with_the_public_key,
    "ES256 with zero r and s": es256_with_zeros,
    "ES256": es256,
    "alg in small letters": with_header(alg="rs256"),
    "alg RS512": with_header(alg="RS512"),
    "alg missing": lambda side: signed(side, {"typ": "JWT"}, claims(side)),
    "alg twice": lambda side: signed(side, '{"alg":"RS256","alg":"none"}', claims(side)),
    "crit": with_header(crit=["exp"], exp=1),
    "b64 false": with_header(b64=False, crit=["b64"]),
    "b64 false without crit": with_header(b64=False),
    "header is a list": lambda side: signed(side, "[]", claims(side)),
    "header is no JSON": lambda side: signed(side, "{", claims(side)),
    "payload is a list": raw_payload("[]"),
    "payload is no JSON": raw_payload("{"),
    "payload is not UTF-8": lambda side: signed(side, {"alg": "RS256"}, "\x00"),
    "a claim twice": twice,
    "missing dot": tampered(lambda parts: ["".join(parts[:2]), parts[2]]),
    "five parts": tampered(lambda parts: [*parts, "", ""]),
    "empty signature": tampered(lambda parts: [*parts[:2], ""]),
    "signature cut": tampered(lambda parts: [*parts[:2], parts[2][:-4]]),
    "padding": tampered(lambda parts: [*parts[:2], parts[2] + "=="]),
    "line break": tampered(lambda parts: [parts[0] + "\n", *parts[1:]]),
    "another spelling": uncanonical,
    "standard base64": tampered(lambda parts: [*parts[:2], parts[2].replace("-", "+").replace("_", "/") + "+/"]),
    "1 MiB": lambda side: "a" * 2**20,
    "two tokens": lambda side: f"{assertion(side.agent)}, {assertion(side.agent)}",
    "other key": lambda side: assertion(side.agent, key="somebody else"),
    "unknown agent": with_claims(agent_id="agt_nobody"),
    "SQL as agent": with_claims(agent_id="' OR 1=1 --"),
    "NUL in the agent": with_claims(agent_id="agt_\x00"),
    "number as agent": with_claims(agent_id=5),
    "agent of 64 KiB": with_claims(agent_id="a" * 65536),
    "no agent": without("agent_id"),
    "no owner": without("owner_id"),
    "other owner": with_claims(owner_id=str(uuid4())),
    "no exp": without("exp"),
    "no iat": without("iat"),
    "exp past": at(iat=-200, exp=-100),
    "exp huge": with_claims(exp=10**18),
    "exp far": at(exp=3600),
    "exp a float": at(exp=60.5),
    "exp a string": lambda side: signed(side, {"alg": "RS256"}, claims(side, exp=str(int(time.time()) + 60))),
    "exp true": with_claims(exp=True),
    "exp negative": with_claims(exp=-1),
    "exp before iat": at(iat=20, exp=10),
    "iat in the future": at(iat=200, exp=260),
    "exp of 5,000 digits": with_raw("exp", HUGE),
    "exp of minus 5,000 digits": with_raw("exp", f"-{HUGE}"),
    "iat of 5,000 digits": with_raw("iat", HUGE),
    "an unknown claim of 5,000 digits": with_raw("nonce", HUGE),
    "5,000 digits far inside a claim": with_raw("nonce", f'{{"a":[{HUGE}]}}'),
    "an unknown claim as deep as fits": with_raw("nonce", DEEP),
    "payload as deep as fits": raw_payload(DEEP),
    "a header of 5,000 digits": raw_header(f'"kid":{HUGE}'),
    "alg of 5,000 digits": lambda side: signed(side, f'{{"alg":{HUGE}}}', claims(side)),
    "a header as deep as fits": raw_header(f'"kid":{DEEP}'),
    "exp of 400 digits and an exponent": with_raw("exp", "1e400"),
    "NaN": raw_payload('{"agent_id":"a","owner_id":"b","iat":NaN,"exp":NaN}'),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_token_that_proves_nothing_is_a_401(client: Client, acme: Side, make: Callable[[Side], str]) -> None:
    response = client.get(URL, headers={"Authorization": f"Bearer {make(acme)}"})
    assert response.status_code == 401
    assert response.json()["error"] == "Invalid JWT"
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token {}", "{}", "Bearer {} {}"])
def test_a_header_that_is_no_bearer_token_is_a_401(client: Client, acme: Side, header: str) -> None:
    token = assertion(acme.agent)
    response = client.get(URL, headers={"Authorization": header.format(token, token)})
    assert response.status_code == 401
    assert client.get(URL).status_code == 401


GOOD: dict[str, Callable[[Side], str]] = {
    "Python client": lambda side: assertion(side.agent, session_id="run:1"),
    "MCP server, without typ": lambda side: signed(side, {"alg": "RS256"}, claims(side, session_id="sess_0")),
    "register, 300 seconds": at(exp=300),
    "a kid of whatever kind": with_header(kid="../../etc/passwd\x00' OR 1=1 --"),
    "a key of its own in the header": with_header(jwk={"kty": "RSA"}, jku="http://192.0.2.1/", x5u="http://192.0.2.1/"),
    "a clock 25 s behind": at(iat=-80, exp=-20),
    "a clock 20 s ahead": at(iat=20, exp=80),
    "a session id that is none": with_claims(session_id="no\nsession"),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_what_published_clients_sign_is_taken(client: Client, acme: Side, make: Callable[[Side], str]) -> None:
    assert status(client, make(acme)) == 404


def test_the_scheme_is_read_in_any_case(client: Client, acme: Side) -> None:
    assert status(client, assertion(acme.agent), scheme="bearer") == 404


def test_the_same_token_serves_twice(client: Client, acme: Side) -> None:
    token = assertion(acme.agent)
    assert [status(client, token), status(client, token)] == [404, 404]


def test_a_retired_key_is_refused_and_an_added_one_taken(client: Client, acme: Side) -> None:
    AgentKey.objects.update(retired_at=timezone.now())
    assert status(client, assertion(acme.agent)) == 401


def test_an_expired_token_of_a_known_agent_is_on_record(client: Client, acme: Side) -> None:
    status(client, at(iat=-200, exp=-100)(acme))
    row = AuditEvent.objects.get()
    assert (row.event, row.reason, row.agent_id) == ("action.denied", "token_expired", acme.agent.pk)


def test_a_token_from_the_future_is_not_called_expired(client: Client, acme: Side) -> None:
    status(client, at(iat=100, exp=200)(acme))
    assert rows_of(acme.agent) == ["token_not_yet_valid"]


def rows_of(agent: Agent) -> list[str]:
    return list(AuditEvent.objects.filter(agent_id=agent.pk).order_by("seq").values_list("reason", flat=True))


def test_a_token_that_is_shown_again_and_again_is_on_record_once(client: Client, acme: Side, stranger: Side) -> None:
    expired = at(iat=-200, exp=-100)(acme)
    assert {status(client, expired) for _ in range(20)} == {401}
    assert rows_of(acme.agent) == ["token_expired"]
    status(client, at(iat=0, exp=3600)(acme))
    status(client, at(iat=-200, exp=-100)(stranger))
    assert rows_of(acme.agent) == ["token_expired", "lifetime_too_long"]
    assert rows_of(stranger.agent) == ["token_expired"]


def test_a_refusal_is_on_record_again_after_a_minute(acme: Side) -> None:
    caller = Caller(
        agent_id=acme.agent.pk, agent_name="Acme bot", owner_id=acme.owner.pk, status="active", session_id=""
    )
    start = timezone.now()
    for seconds in (0, 30, 59, 60, 61, 119, 120):
        now = start + timedelta(seconds=seconds)
        record_turned_away(caller, request_id=uuid4(), reason="agent_suspended", now=now)
    assert [round((row.at - start).total_seconds()) for row in AuditEvent.objects.order_by("seq")] == [0, 60, 120]


def test_without_valkey_a_refusal_is_on_record_all_the_same(client: Client, acme: Side, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    assert status(client, at(iat=-200, exp=-100)(acme)) == 401
    assert rows_of(acme.agent) == ["token_expired"]


@pytest.mark.parametrize("state", ["suspended", "revoked", "pending"])
def test_an_agent_that_may_not_act_is_on_record_once_however_often_it_calls(
    client: Client, acme: Side, state: str
) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=state)
    for _ in range(10):
        answer = client.get("/v1/agent/permissions", headers={"Authorization": f"Bearer {assertion(acme.agent)}"})
        assert (answer.status_code, answer.json()["reason"]) == (403, f"agent_{state}")
    assert rows_of(acme.agent) == [f"agent_{state}"]


def test_a_bad_signature_is_not_held_against_the_agent_it_names(client: Client, acme: Side) -> None:
    status(client, assertion(acme.agent, key="somebody else"))
    assert not AuditEvent.objects.exists()
    acme.agent.refresh_from_db()
    assert acme.agent.last_seen_at is None


def test_a_call_is_seen(client: Client, acme: Side) -> None:
    status(client, assertion(acme.agent))
    acme.agent.refresh_from_db()
    assert acme.agent.last_seen_at is not None
