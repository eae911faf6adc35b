"""Secrets in outgoing calls: each known shape, the owner's own credentials, and what must never be taken for one."""

import json
import time
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms import leaks
from platforms.leaks import STORED, SecretInRequest, refuse_secrets
from platforms.models import Connection, Platform
from tests.approvals.test_actions_api import READ, WRITE, post
from tests.platforms.leaked import ORDINARY, SECRETS, jwt_like
from tests.world import CountingPlatform, Side, assertion, make_connection, new_token


def refused(client: Client, side: Side, call: dict[str, Any], secret: str) -> dict[str, Any]:
    """Send the call; it must be turned away for the secret, which appears nowhere."""
    response = post(client, side, call)
    body: dict[str, Any] = response.json()
    assert response.status_code == 403, body
    assert (body["reason"], body["code"]) == ("denied_by_guardrail", "secret_in_request")
    assert body["policy_id"] == "guardrail:leaked-secrets"
    event = AuditEvent.objects.filter(owner_id=side.owner.pk).latest("seq")
    assert (event.event, event.reason) == ("action.denied", "denied_by_guardrail")
    for text in (response.content.decode(), event.canonical):
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
    assert not ApprovalRequest.objects.for_owner(side.owner).exists()
    return body


@pytest.mark.parametrize(("kind", "secret"), SECRETS, ids=[f"{kind}-{secret[:5]}" for kind, secret in SECRETS])
def test_a_well_known_secret_in_the_body_is_refused(
    client: Client, acme: Side, platform: CountingPlatform, kind: str, secret: str
) -> None:
    body = refused(client, acme, WRITE | {"data": {"text": f"use {secret} please"}}, secret)
    assert body["detail"] == f"The body contains {kind}."
    assert platform.requests == []


MARKS = ("\n", "\t", "\r\n", "\f", "\b", "\x1f", "\x1b[0m ", "\u00e9", "\\", "/", '"')


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("endpoint", lambda secret: READ | {"endpoint": f"/api/messages?q={secret}"}),
        ("endpoint", lambda secret: READ | {"endpoint": f"/api/{secret}"}),
        ("endpoint", lambda secret: READ | {"endpoint": "/api?q=" + "".join(f"%{ord(c):02x}" for c in secret)}),
        ("endpoint", lambda secret: READ | {"endpoint": "/api?q=" + quote(quote(f" {secret}"))}),
        ("reason", lambda secret: WRITE | {"reason": f"the key is {secret}"}),
        ("scope", lambda secret: READ | {"scope": secret}),
        ("platform", lambda secret: READ | {"platform": secret}),
        ("body", lambda secret: WRITE | {"data": {secret: 1}}),
        ("body", lambda secret: WRITE | {"data": [[[{"a": [secret]}]]]}),
        ("body", lambda secret: WRITE | {"data": f"a=1&token={secret}&b=2"}),
        ("body", lambda secret: WRITE | {"data": f'{{"inner": "{secret}"}}'}),
        ("body", lambda secret: WRITE | {"data": f"a=1+{secret}%20&b=2"}),
        *(("body", lambda secret, mark=mark: WRITE | {"data": f"x{mark}{secret}"}) for mark in MARKS),
        *(("body", lambda secret, mark=mark: WRITE | {"data": json.dumps([f"x{mark}{secret}"])}) for mark in MARKS),
        ("endpoint", lambda secret: READ | {"endpoint": "/api?q=" + quote(json.dumps(f"x\n{secret}"))}),
    ],
)
def test_a_secret_is_found_in_every_field_and_is_on_record_in_none(
    client: Client, acme: Side, field: str, call: Any
) -> None:
    secret = "ghp_" + "aB3dE5gH7jK9mN2pQ4sT6vW8xY1zC0fLaB3d"
    assert refused(client, acme, call(secret), secret)["detail"] == f"The {field} contains a GitHub token."


@pytest.mark.parametrize("text", [row[1] for row in ORDINARY], ids=[row[0] for row in ORDINARY])
def test_ordinary_text_passes(client: Client, acme: Side, text: str) -> None:
    assert post(client, acme, WRITE | {"data": {"text": text}}).status_code == 202


def test_the_credential_of_any_connection_of_the_owner_is_refused(client: Client, acme: Side) -> None:
    other = Platform.objects.create(
        owner=acme.owner, slug="vault", name="Vault", base_url="https://vault.example", auth={"type": "bearer"}
    )
    secret = new_token()
    make_connection(other, secret)
    body = refused(client, acme, WRITE | {"data": {"text": f"Authorization: Bearer {secret}"}}, secret)
    assert body["detail"] == f"The body contains {STORED}."
    refused(client, acme, READ | {"endpoint": f"/api?key={secret}"}, secret)


def test_the_credential_of_another_owner_is_not_ours_to_know(client: Client, acme: Side, stranger: Side) -> None:
    secret = new_token()
    make_connection(stranger.platform, secret, label="Second", default=False)
    assert post(client, acme, WRITE | {"data": {"text": secret}}).status_code == 202
    refused(client, stranger, WRITE | {"data": {"text": secret}}, secret)


@pytest.mark.parametrize(
    ("credential", "text"),
    [
        ("correct horse battery staple", "say correct horse battery staple twice"),
        ("ab+cd/ef==gh+ij/kl==mn", 'the "ab+cd/ef==gh+ij/kl==mn" key'),
        ('quote"back\\slash"and more', 'quote"back\\slash"and more'),
        ("x" * 16, "x" * 16),
        ("ab:the-longest-word-comes-second", "(ab:the-longest-word-comes-second)"),
        ("key-with-dashes_and_lines.1", "a=key-with-dashes_and_lines.1&b"),
        ("after-a-line-break-it-begins", "TOKENS:\nafter-a-line-break-it-begins\n"),
        ("after-a-tab-it-begins-too", "TOKENS:\tafter-a-tab-it-begins-too\t"),
        ("w\u00f6rter mit umlauten \u2713", "sag w\u00f6rter mit umlauten \u2713 an"),
        ("said with spaces in a form", "a=1&password=said+with+spaces+in+a+form"),
    ],
)
def test_a_credential_is_found_whatever_it_is_made_of(client: Client, acme: Side, credential: str, text: str) -> None:
    Platform.objects.update(auth={"type": "header", "name": "X-Key"})
    make_connection(acme.platform, credential, label="Odd", default=False)
    refused(client, acme, WRITE | {"data": {"text": text}}, credential)


def test_of_a_user_and_password_the_password_is_the_secret(client: Client, acme: Side) -> None:
    Platform.objects.update(auth={"type": "basic"})
    make_connection(acme.platform, "a-long-service-account:S3cret-S3cret-S3cret", label="Basic", default=False)
    pair = b64encode(b"a-long-service-account:S3cret-S3cret-S3cret").decode()
    refused(client, acme, WRITE | {"data": {"text": "it is S3cret-S3cret-S3cret"}}, "S3cret-S3cret-S3cret")
    refused(client, acme, WRITE | {"data": {"text": f"Authorization: Basic {pair}"}}, pair)
    assert post(client, acme, WRITE | {"data": {"text": "a-long-service-account"}}).status_code == 202


def test_a_short_credential_cannot_be_tried_out(client: Client, acme: Side) -> None:
    make_connection(acme.platform, "x" * 15, label="Short", default=False)
    assert post(client, acme, WRITE | {"data": {"text": "x" * 15}}).status_code == 202


def test_a_replaced_credential_is_looked_for_from_the_next_call_on(client: Client, acme: Side) -> None:
    secret = new_token()
    assert post(client, acme, WRITE | {"data": {"text": secret}}).status_code == 202
    ApprovalRequest.objects.all().delete()
    fresh = make_connection(acme.platform, secret, label="New", default=False)
    refused(client, acme, WRITE | {"data": {"text": secret}}, secret)
    fresh.delete()
    assert post(client, acme, WRITE | {"data": {"text": secret}}).status_code == 202


def test_a_credential_that_does_not_open_does_not_stop_other_calls(client: Client, acme: Side) -> None:
    broken = make_connection(acme.platform, new_token(), label="Broken", default=False)
    Connection.objects.filter(pk=broken.pk).update(credential_ciphertext=b"\0" * 60)
    assert post(client, acme, READ).status_code == 200


def test_an_assertion_of_an_agent_is_refused(client: Client, acme: Side, stranger: Side) -> None:
    for token in (assertion(acme.agent), assertion(stranger.agent), jwt_like({"agent_id": "a", "owner_id": "b"})):
        refused(client, acme, WRITE | {"data": {"text": token}}, token)


def test_no_plaintext_stays_in_memory(client: Client, acme: Side, platform: CountingPlatform) -> None:
    assert post(client, acme, READ).status_code == 200
    assert platform.token not in repr(leaks._cache)
    assert any(key[0] == acme.connection.pk for key in leaks._cache)


def test_a_call_costs_one_query_once_the_credentials_are_known(
    acme: Side, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    texts = {"body": '{"text":"hello"}'}
    refuse_secrets(owner_id=acme.owner.pk, texts=texts)
    with django_assert_num_queries(1):
        refuse_secrets(owner_id=acme.owner.pk, texts=texts)


# (where else an agent has words of its own, whether they are refused for a secret)
WORDS: list[tuple[str, Any, bool]] = [
    ("/v1/access-request", lambda secret: {"platform": "acme-chat", "reason": f"I found {secret}"}, True),
    ("/v1/access-request", lambda secret: {"platform": "acme-chat", "scope": secret, "reason": "x"}, True),
    ("/v1/access-request", lambda secret: {"platform": secret, "reason": "x"}, True),
    (
        "/v1/agents/children",
        lambda secret: {"name": secret, "grants": [{"platform": "acme-chat", "scopes": ["chat:read"]}]},
        True,
    ),
    ("/v1/revoke-request", lambda secret: {"reason": f"I found {secret}"}, False),
    (
        "/v1/agents/self/diagnostics",
        lambda secret: {"severity": "error", "message": secret, "code": secret, "platform": secret, "endpoint": secret},
        False,
    ),
]


@pytest.mark.parametrize(("path", "words", "is_refused"), WORDS)
def test_no_words_of_an_agent_bring_a_secret_into_the_log(
    client: Client, acme: Side, platform: CountingPlatform, path: str, words: Any, is_refused: bool
) -> None:
    response = client.post(
        path,
        words(platform.token),
        content_type="application/json",
        headers={"Authorization": f"Bearer {assertion(acme.agent)}"},
    )
    assert (response.status_code == 403) == is_refused
    if is_refused:
        assert response.json()["code"] == "secret_in_request"
    rows = [event.canonical for event in AuditEvent.objects.all()]
    assert rows
    assert not [row for row in rows if platform.token in row]


MIB = 1024 * 1024
HOSTILE = [
    ("sk-", "sk-" * (MIB // 3)),
    ("eyJ", "eyJ" * (MIB // 3)),
    ("JWT after JWT", "eyJaaaaaaaaaaaa.eyJaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaa " * (MIB // 52)),
    ("words as long as a credential", ("a" * 36 + " ") * (MIB // 37)),
    ("almost Google keys", ("AIza" + "-" * 34 + ".") * (MIB // 39)),
    ("almost GitHub tokens", ("ghp_" + "a" * 35 + " ") * (MIB // 40)),
    ("almost PEM", "-----BEGIN AAAAAAA " * (MIB // 19)),
    ("almost Telegram", "12345678:AA" * (MIB // 11)),
    ("almost Slack", ("xapp-1-" + "A" * 20) * (MIB // 27)),
    ("percent signs", "%25" * (MIB // 3)),
    ("backslashes", "\\" * MIB),
    ("Unicode escapes", "\\u0041" * (MIB // 6)),
    ("placeholders", ("ghp_" + "x" * 36 + " ") * (MIB // 41)),
    ("PEM without a key", ("-----BEGIN PRIVATE KEY-----" + "\n" * 40) * (MIB // 67)),
    ("dots", "." * MIB),
]


@pytest.mark.parametrize("text", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_a_hostile_megabyte_takes_no_longer_than_an_honest_one(acme: Side, text: str) -> None:
    began = time.process_time()
    refuse_secrets(owner_id=acme.owner.pk, texts={"body": text})
    assert time.process_time() - began < 3  # 0.3 s on a quiet machine; a pattern that backtracks takes minutes


def test_a_secret_at_the_end_of_the_largest_body_is_found(acme: Side, settings: Settings) -> None:
    secret = "sk_live_" + "a1B2" * 6
    with pytest.raises(SecretInRequest):
        refuse_secrets(owner_id=acme.owner.pk, texts={"body": "word " * 200_000 + secret})
