"""An approved call whose token URL is away for a moment: it waits, unbegun, and is sent once when there is a token."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from approvals.execution import execute
from approvals.forgotten import forgotten
from approvals.models import ApprovalRequest
from approvals.tasks import execute_approved
from audit.models import AuditEvent
from platforms import held_access
from platforms.access_token_model import AccessToken
from platforms.models import Connection, Platform
from platforms.renewals import NoAccess
from platforms.stored_credentials import credential_of
from tests.approvals.test_decisions import approve
from tests.approvals.test_runs import events, run
from tests.approvals.token_urls import TokenService, age, give, grant, renewed
from tests.world import CountingPlatform, Side, bearer, submit

AGO = timedelta(minutes=5)


def test_a_hiccup_of_the_token_url_costs_nothing_but_time(
    client: Client, acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    connection = renewed(acme, tokens, "hiccup-refresh-token-1")
    approval = approve(acme, submit(acme))
    execute_approved(approval_id=str(approval.pk))
    age(connection, failing_since=timezone.now() - AGO)
    execute_approved(approval_id=str(approval.pk))  # while nobody asks the token URL again
    waiting = ApprovalRequest.objects.get(pk=approval.pk)
    assert (waiting.execution_started_at, waiting.executed_at, events(waiting)[-1]) == (None, None, "approval.approved")
    polled = client.get(f"/v1/approvals/{approval.pk}", headers=bearer(acme.agent)).json()
    assert (polled["status"], polled["executed_at"]) == ("approved", None)
    assert forgotten(now=timezone.now() + AGO, limit=9) == [approval.pk]
    assert (len(tokens.requests), platform.requests) == (1, [])
    age(connection, failed_at=timezone.now() - AGO)
    for _ in range(2):
        execute_approved(approval_id=str(approval.pk))
    (sent,) = platform.requests
    assert sent["headers"]["Authorization"] == f"Bearer {platform.token}"
    done = ApprovalRequest.objects.get(pk=approval.pk)
    assert (done.result_status, len(tokens.requests)) == (200, 2)
    assert AccessToken.objects.get().failing_since is None


@pytest.mark.parametrize(
    ("trouble", "since", "asked"),
    [(0, 3, 2), (8, 3, 2), (80, 5, 1), (80, 21, 2), (600, 9, 1), (600, 31, 2)],
)
def test_the_longer_a_token_url_is_away_the_more_seldom_it_is_asked(
    acme: Side, tokens: TokenService, trouble: int, since: int, asked: int
) -> None:
    connection = renewed(acme, tokens, "down-refresh-token-1")
    with pytest.raises(NoAccess):
        credential_of(connection)
    failed_at = timezone.now() - timedelta(seconds=since)
    first = failed_at - timedelta(seconds=trouble)
    age(connection, failed_at=failed_at, failing_since=first)
    with pytest.raises(NoAccess):
        credential_of(connection)
    assert (len(tokens.requests), AccessToken.objects.get().failing_since) == (asked, first)


@pytest.mark.parametrize("kind", ["busy", "down", "text", "empty"])
def test_who_has_waited_as_long_as_may_be_is_told_for_what(
    acme: Side, platform: CountingPlatform, tokens: TokenService, kind: str
) -> None:
    renewed(acme, tokens, f"{kind}-refresh-token-1")
    approval = approve(acme, submit(acme))
    execute(approval_id=approval.pk, now=timezone.now() + timedelta(seconds=590))
    assert ApprovalRequest.objects.get(pk=approval.pk).executed_at is None
    execute(approval_id=approval.pk, now=timezone.now() + timedelta(seconds=601))
    error = ApprovalRequest.objects.get(pk=approval.pk).execution_error or ""
    assert "did not renew the access" in error
    assert error.endswith("The call waited 10 minutes for it. Nothing was sent.")
    assert AuditEvent.objects.get(event="approval.failed").reason == "token_unavailable"
    assert platform.requests == []


def test_the_time_at_the_token_url_is_no_part_of_the_calls_lease(acme: Side, tokens: TokenService) -> None:
    renewed(acme, tokens, "slow-refresh-token-1")  # half a second
    approval, now = approve(acme, submit(acme)), timezone.now()
    execute(approval_id=approval.pk, now=now)
    began = ApprovalRequest.objects.get(pk=approval.pk).execution_started_at
    assert began is not None
    assert began >= now + timedelta(seconds=0.4)


def test_a_token_that_is_good_for_one_call_is_got_once_for_it(
    acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    renewed(acme, tokens, "single-refresh-token-1")
    assert run(approve(acme, submit(acme))).result_status == 200
    assert len(tokens.requests) == 1


def _reauthenticate(side: Side) -> None:
    give(side, grant("other-refresh-token-2"))


def _edit_the_address(side: Side) -> None:
    Platform.objects.update(auth={"type": "bearer", "refresh": {"token_url": "http://127.0.0.1:9/token"}})


def _move_the_version_back(side: Side) -> None:
    """As whoever can write the database may: the version is that of the decision, the token that of another."""
    Connection.objects.update(credential_version=1)


@pytest.mark.parametrize(
    ("begin", "meanwhile", "error"),
    [
        (1, _reauthenticate, "The connection's credential was replaced after the request."),
        (1, _edit_the_address, "is not what this server has stored"),
        (2, _move_the_version_back, "Nothing was sent."),
    ],
)
def test_a_token_is_sent_only_with_the_credential_and_to_the_address_that_it_was_got_for(
    acme: Side,
    platform: CountingPlatform,
    tokens: TokenService,
    monkeypatch: pytest.MonkeyPatch,
    begin: int,
    meanwhile: Any,
    error: str,
) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    approval = approve(acme, submit(acme))
    if begin == 2:
        give(acme, grant("good-refresh-token-2"))

    def then(*asked: Any, **named: Any) -> str:
        token = credential_of(*asked, **named)
        meanwhile(acme)
        return token

    monkeypatch.setattr(held_access, "credential_of", then)
    assert error in str(run(approval).execution_error)
    assert (len(tokens.requests), platform.requests) == (1, [])


@pytest.mark.parametrize("auth", [{}, {"type": "bearer", "refresh": {"token_url": "nowhere"}}])
def test_a_platform_that_cannot_be_read_any_more_ends_the_call(acme: Side, tokens: TokenService, auth: Any) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    approval = approve(acme, submit(acme))
    Platform.objects.update(auth=auth)
    assert run(approval).execution_error == "The call could not be checked. Nothing was sent."
    assert tokens.requests == []


def test_no_token_is_got_with_the_connection_of_a_stranger(acme: Side, stranger: Side, tokens: TokenService) -> None:
    theirs = renewed(stranger, tokens, "good-refresh-token-9")
    assert held_access.hold_access(owner_id=acme.owner.pk, connection_id=theirs.pk, timeout=5) is None
    assert tokens.requests == []


def test_the_token_is_in_no_text_of_what_holds_it(acme: Side, platform: CountingPlatform, tokens: TokenService) -> None:
    connection = renewed(acme, tokens, "good-refresh-token-1")
    held = held_access.hold_access(owner_id=acme.owner.pk, connection_id=connection.pk, timeout=5)
    assert held is not None
    assert (held.token, platform.token in repr(held)) == (platform.token, False)
