"""Credentials that are renewed: a refresh token is exchanged once for however many calls wait, and refused for all."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms import access_tokens, connecting
from platforms import client as way_out
from platforms.access_token_model import AccessToken
from platforms.destinations import DestinationChanged
from platforms.kept_tokens import KeptToken, text_of
from platforms.models import Connection, ConnectionStatus, Platform
from platforms.renewals import NoAccess
from platforms.stored_credentials import credential_of
from tests.approvals.test_actions_api import READ, post
from tests.approvals.test_decisions import approve
from tests.approvals.test_runs import events, run
from tests.approvals.token_urls import SECRET, TokenService, age, give, grant, renewed
from tests.world import CountingPlatform, Side, change_platform, submit


def latest() -> AuditEvent:
    return AuditEvent.objects.latest("seq")


def test_calls_go_out_with_an_access_token_that_is_got_once(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    assert [post(client, acme, READ).status_code for _ in range(3)] == [200, 200, 200]
    assert [sent["headers"]["Authorization"] for sent in platform.requests] == [f"Bearer {platform.token}"] * 3
    (asked,) = tokens.requests
    assert asked["fields"] == {
        "grant_type": "refresh_token",
        "refresh_token": "good-refresh-token-1",
        "client_id": "our-client",
        "client_secret": SECRET,
    }
    row = AuditEvent.objects.get(event="connection.renewed")
    assert row.metadata["connection_id"] == str(acme.connection.pk)
    stored = AccessToken.objects.get()
    assert platform.token.encode() not in bytes(stored.sealed_ciphertext)
    everything = "".join(AuditEvent.objects.values_list("canonical", flat=True))
    assert not any(secret in everything for secret in (platform.token, SECRET, "good-refresh-token-1"))


def test_a_client_may_name_itself_in_a_header(client: Client, acme: Side, tokens: TokenService) -> None:
    renewed(acme, tokens, "good-refresh-token-1", client="basic")
    assert post(client, acme, READ).status_code == 200
    (asked,) = tokens.requests
    assert asked["headers"]["Authorization"].startswith("Basic ")
    assert set(asked["fields"]) == {"grant_type", "refresh_token"}


def test_a_token_that_ends_is_renewed_and_the_credential_stays_the_one_that_was_decided_on(
    acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    connection = renewed(acme, tokens, "brief-refresh-token-1")
    assert [credential_of(connection) for _ in range(2)] == [platform.token] * 2
    assert len(tokens.requests) == 1  # half of its life is of use
    approval = approve(acme, submit(acme))
    age(connection, renewed_at=timezone.now() - timedelta(minutes=1))
    done = run(approval)
    assert (done.result_status, len(platform.requests), len(tokens.requests)) == (200, 1, 2)
    assert Connection.objects.get().credential_version == 1


@pytest.mark.parametrize("kind", ["refused", "slack-refused", "client-refused"])
def test_a_refused_refresh_token_ends_the_call_unsent_and_asks_for_reauthentication(
    acme: Side, platform: CountingPlatform, tokens: TokenService, kind: str
) -> None:
    renewed(acme, tokens, f"{kind}-token")
    done = run(approve(acme, submit(acme)))
    assert done.execution_error is not None
    assert "does not renew the access any more" in done.execution_error
    assert done.execution_error.endswith("Nothing was sent.")
    assert (done.outcome_unknown, events(done)[-1], latest().reason) == (False, "approval.failed", "reauth_needed")
    assert platform.requests == []
    assert Connection.objects.get().status == ConnectionStatus.REAUTH_NEEDED
    assert AuditEvent.objects.get(event="connection.not_renewed").reason == "reauth_needed"
    with pytest.raises(NoAccess):  # the next call is told the same, without asking again at once
        credential_of(Connection.objects.get())
    assert len(tokens.requests) == 1


@pytest.mark.parametrize("kind", ["busy", "down", "text", "empty"])
def test_a_token_url_in_trouble_says_nothing_of_the_credential(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService, kind: str
) -> None:
    renewed(acme, tokens, f"{kind}-token")
    answer = post(client, acme, READ)
    assert (answer.status_code, answer.json()["code"]) == (502, "token_unavailable")
    assert Connection.objects.get().status == ConnectionStatus.UNTESTED
    assert platform.requests == []


def test_a_token_url_is_under_the_same_guard(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService, settings: Settings
) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    settings.PRIVATE_TARGETS = [platform.url.removeprefix("http://")]
    answer = post(client, acme, READ)
    assert (answer.status_code, answer.json()["code"]) == (502, "token_unavailable")
    assert tokens.requests == platform.requests == []


def test_a_token_url_edited_in_the_database_gets_no_refresh_token(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    evil = tokens.url.replace("/token", "/evil")
    Platform.objects.update(auth={"type": "bearer", "refresh": {"token_url": evil}})
    assert post(client, acme, READ).json()["code"] == "destination_changed"
    with pytest.raises(DestinationChanged):  # edited after the call was looked at
        access_tokens.access_token(connection_id=acme.connection.pk, version=1, timeout=5)
    assert tokens.requests == platform.requests == []


def test_a_refresh_token_is_not_sent_as_a_token_where_none_is_renewed_any_more(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    change_platform(acme.platform, auth={"type": "bearer"})
    answer = post(client, acme, READ)
    assert (answer.status_code, answer.json()["code"]) == (502, "credential_changed")
    with pytest.raises(NoAccess):
        credential_of(Connection.objects.get())
    with pytest.raises(connecting.Refused, match="does not renew"):
        give(acme, grant("good-refresh-token-2"))
    assert tokens.requests == platform.requests == []
    give(acme, platform.token)
    assert post(client, acme, READ).status_code == 200


def test_a_sealed_token_moved_to_another_connection_is_not_used(
    acme: Side, stranger: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    mine, theirs = renewed(acme, tokens, "good-refresh-token-1"), renewed(stranger, tokens, "other-refresh-token-1")
    assert credential_of(mine) == platform.token
    row = AccessToken.objects.get(connection=mine)
    AccessToken.objects.create(
        connection=theirs,
        credential_version=1,
        sealed_key_id=row.sealed_key_id,
        sealed_wrapped_key=row.sealed_wrapped_key,
        sealed_ciphertext=row.sealed_ciphertext,
        renewed_at=row.renewed_at,
    )
    assert credential_of(theirs) == "a-token-that-no-platform-takes"


def test_a_token_that_the_platform_ended_early_is_dropped_once_and_then_the_connection_is_at_fault(
    client: Client, acme: Side, tokens: TokenService
) -> None:
    connection = renewed(acme, tokens, "other-refresh-token-1")
    post(client, acme, READ)
    assert Connection.objects.get().status == ConnectionStatus.REAUTH_NEEDED  # got just now, and not taken
    Connection.objects.update(status=ConnectionStatus.ACTIVE)
    age(connection, renewed_at=timezone.now() - timedelta(minutes=10))
    assert post(client, acme, READ).json()["code"] == "reauth_failed"
    assert Connection.objects.get().status == ConnectionStatus.ACTIVE
    assert post(client, acme, READ).json()["code"] == "reauth_failed"
    assert len(tokens.requests) == 2
    assert Connection.objects.get().status == ConnectionStatus.REAUTH_NEEDED


def test_no_call_carries_what_is_renewed(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    connection = renewed(acme, tokens, "once-refresh-token-7")
    leaks = ["once-refresh-token-7", SECRET]
    assert all(post(client, acme, READ | {"reason": leak}).status_code == 403 for leak in leaks)
    assert credential_of(connection) == platform.token
    for leak in (platform.token, "once-refresh-token-7x", SECRET):
        assert post(client, acme, READ | {"reason": leak}).json()["code"] == "secret_in_request"
    assert platform.requests == []


def test_no_call_carries_a_token_that_was_replaced_and_has_not_ended(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    connection, got = renewed(acme, tokens, "many-refresh-token-1"), []
    for _ in range(3):
        got.append(credential_of(connection))
        assert access_tokens.forget(connection_id=connection.pk, before=timezone.now())
        for token in got:
            assert post(client, acme, READ | {"reason": token}).json()["code"] == "secret_in_request"
    assert (len(set(got)), platform.requests) == (3, [])


def test_of_replaced_tokens_the_newest_that_are_good_are_kept() -> None:
    now = timezone.now()
    kept = [KeptToken(f"token-{n}", now + timedelta(minutes=n - 1)) for n in range(9)]
    words = json.loads(text_of(KeptToken("newest", now), reversed(kept), now=now))[::2]
    assert words == ["newest", "token-8", "token-7", "token-6", "token-5"]
    assert json.loads(text_of(KeptToken("newest", now), kept[:3], now=now))[::2] == ["newest", "token-2"]
    assert "newest" not in repr(KeptToken("newest", now))


def test_another_credential_has_another_token(acme: Side, tokens: TokenService) -> None:
    connection = renewed(acme, tokens, "good-refresh-token-1")
    queued = approve(acme, submit(acme))
    credential_of(connection)
    give(acme, grant("other-refresh-token-2"))
    assert not AccessToken.objects.exists()  # that of the first is destroyed
    assert credential_of(Connection.objects.get()) == "a-token-that-no-platform-takes"
    with pytest.raises(NoAccess, match="replaced"):  # a call that has read the old version
        access_tokens.access_token(connection_id=connection.pk, version=1, timeout=1)
    assert "credential was replaced" in str(run(ApprovalRequest.objects.get(pk=queued.pk)).execution_error)


def test_a_credential_replaced_while_it_is_renewed_ends_the_call_unsent(
    acme: Side, platform: CountingPlatform, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed(acme, tokens, "once-refresh-token-8")
    approval = approve(acme, submit(acme))
    send = way_out.send

    def meanwhile(**call: Any) -> Any:
        answer = send(**call)
        give(acme, platform.token)
        return answer

    monkeypatch.setattr(way_out, "send", meanwhile)
    error = run(approval).execution_error
    assert error == "The connection's credential was replaced after the request. Nothing was sent."
    assert (len(tokens.requests), platform.requests) == (1, [])
    assert credential_of(Connection.objects.get()) == platform.token  # not overwritten by what came of the old one


@pytest.mark.parametrize(
    "credential",
    ["{}", "{", '{"client_id":"a"}', '{"client_id":"","refresh_token":"r"}', '{"client_id":"a","refresh_token":5}',
     '{"client_id":"a","refresh_token":"r","given":"x"}', '{"client_id":"a\\n","refresh_token":"r"}',
     '{"client_id":"a","refresh_token":"r","more":"x"}', "a token"],
)  # fmt: skip
def test_what_is_no_grant_is_not_taken(acme: Side, tokens: TokenService, credential: str) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    with pytest.raises(connecting.Refused) as refused:
        give(acme, credential)
    assert refused.value.field == "credential"
