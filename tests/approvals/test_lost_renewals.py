"""Refresh tokens that are good once: what was got in exchange is not lost, and one lease is one exchange."""

import threading
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from platforms import access_tokens, renewals
from platforms import client as way_out
from platforms.access_token_model import AccessToken
from platforms.models import Connection, ConnectionStatus
from platforms.renewals import NoAccess
from platforms.stored_credentials import credential_of, take_in
from platforms.vault import KeyServiceError
from tests.approvals.test_actions_api import READ, post
from tests.approvals.token_urls import TokenService, age, give, grant, renewed
from tests.world import CountingPlatform, Side, make_side


def test_a_refresh_token_that_is_good_once_is_replaced_under_the_same_version(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    connection = renewed(acme, tokens, "once-refresh-token-1")
    assert post(client, acme, READ).status_code == 200
    age(connection, sealed_ciphertext=b"")
    assert post(client, acme, READ).status_code == 200
    sent = [asked["fields"]["refresh_token"] for asked in tokens.requests]
    assert sent == ["once-refresh-token-1", "once-refresh-token-1x"]
    row = Connection.objects.get()
    assert row.credential_version == 1
    provisioned = [take_in(row, grant(f"once-refresh-token-{n}"), keep_renewed=True).sealed for n in (1, 2)]
    assert provisioned[0] is None  # given again by the file: no change
    assert provisioned[1] is not None


def test_a_person_who_gives_the_first_grant_again_puts_it_back(acme: Side, tokens: TokenService) -> None:
    connection = renewed(acme, tokens, "once-refresh-token-3")
    credential_of(connection)
    Connection.objects.update(status=ConnectionStatus.REAUTH_NEEDED)
    for version in (2, 3):  # in place of the one that it was renewed to, and of itself
        age(connection, failed_at=timezone.now(), failure="reauth_needed")
        give(acme, grant("once-refresh-token-3"))
        row = Connection.objects.get()
        assert (row.credential_version, row.status) == (version, ConnectionStatus.UNTESTED)
    with pytest.raises(NoAccess):  # asked for at once, with what was given
        credential_of(row)
    assert [asked["fields"]["refresh_token"] for asked in tokens.requests] == ["once-refresh-token-3"] * 2


def test_a_renewal_that_works_ends_the_need_to_reauthenticate(acme: Side, tokens: TokenService) -> None:
    connection = renewed(acme, tokens, "good-refresh-token-1")
    Connection.objects.update(status=ConnectionStatus.REAUTH_NEEDED)
    credential_of(connection)
    assert Connection.objects.get().status == ConnectionStatus.UNTESTED


@pytest.mark.parametrize("kind", ["refused", "good"])
def test_who_comes_after_the_end_of_its_lease_changes_nothing(
    acme: Side, tokens: TokenService, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    connection = renewed(acme, tokens, f"{kind}-refresh-token-1")
    send = way_out.send

    def meanwhile(**call: Any) -> Any:
        age(connection, serial=7, renewing_until=None)  # somebody else has renewed it
        return send(**call)

    monkeypatch.setattr(way_out, "send", meanwhile)
    with suppress(NoAccess):
        credential_of(connection)
    row = AccessToken.objects.get()
    assert (row.serial, row.failed_at, bytes(row.sealed_ciphertext)) == (7, None, b"")
    assert Connection.objects.get().status == ConnectionStatus.UNTESTED


def test_no_exchange_is_begun_that_has_too_little_time(
    acme: Side, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might be given up after the platform has replaced the refresh token."""
    connection = renewed(acme, tokens, "once-refresh-token-4")
    AccessToken.objects.create(
        connection=connection, credential_version=1, renewing_until=timezone.now() + timedelta(seconds=25)
    )
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] > 8:
            age(connection, renewing_until=None)

    monkeypatch.setattr(access_tokens, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    with pytest.raises(NoAccess) as refused:
        access_tokens.access_token(connection_id=connection.pk, version=1, timeout=10)
    assert (refused.value.reason, tokens.requests) == ("token_unavailable", [])


@pytest.mark.django_db(transaction=True)
def test_what_was_got_is_kept_although_storing_it_fails_at_first(
    platform: CountingPlatform, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = make_side("Acme", base_url=platform.url, token=platform.token)
    connection = renewed(side, tokens, "once-refresh-token-5")

    def fail_once(name: str, error: Exception) -> None:
        works, errors = getattr(renewals, name), [error]

        def once(*args: Any, **named: Any) -> Any:
            if errors:
                raise errors.pop()
            return works(*args, **named)

        monkeypatch.setattr(renewals, name, once)

    fail_once("seal", KeyServiceError("The key service is away."))
    fail_once("record", OperationalError("the server closed the connection"))
    assert credential_of(connection) == platform.token
    age(connection, sealed_ciphertext=b"")
    assert credential_of(Connection.objects.get()) == platform.token
    sent = [asked["fields"]["refresh_token"] for asked in tokens.requests]
    assert sent == ["once-refresh-token-5", "once-refresh-token-5x"]
    assert AuditEvent.objects.filter(event="connection.renewed").count() == 2


@pytest.mark.django_db(transaction=True)
def test_calls_that_wait_together_share_one_exchange_and_hold_no_transaction(
    platform: CountingPlatform, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = make_side("Acme", base_url=platform.url, token=platform.token)
    connection = renewed(side, tokens, "slow-refresh-token-1")
    open_ones: list[bool] = []
    send = way_out.send

    def watched(**call: Any) -> Any:
        open_ones.append(database.in_atomic_block or database.connection is not None)
        return send(**call)

    monkeypatch.setattr(way_out, "send", watched)
    got: list[str] = []

    def one() -> None:
        try:
            got.append(access_tokens.access_token(connection_id=connection.pk, version=1, timeout=30))
        finally:
            database.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [platform.token] * 8
    assert (len(tokens.requests), open_ones) == (1, [False])


def test_the_lease_of_a_process_that_died_ends_by_itself(acme: Side, tokens: TokenService) -> None:
    connection = renewed(acme, tokens, "good-refresh-token-1")
    now = timezone.now()
    later = access_tokens.LEASE + timedelta(seconds=5)  # by another machine's clock
    AccessToken.objects.create(connection=connection, credential_version=1, renewing_until=now + later)
    with pytest.raises(NoAccess, match="took too long"):
        access_tokens.access_token(connection_id=connection.pk, version=1, timeout=0.1)
    for until in (now - timedelta(seconds=1), now + timedelta(hours=1)):  # over, or of a clock that was put back
        age(connection, renewing_until=until, sealed_ciphertext=b"")
        assert access_tokens.access_token(connection_id=connection.pk, version=1, timeout=5)
    assert len(tokens.requests) == 2
