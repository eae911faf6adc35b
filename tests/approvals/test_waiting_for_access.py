"""An approved call whose token URL is away for a moment: it waits, unbegun, and is sent once when there is a token."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import JSONField, Value
from django.test import Client
from django.utils import timezone

from agents.models import Agent, AgentStatus
from approvals.checks import checked
from approvals.execution import execute
from approvals.forgotten import forgotten
from approvals.models import ApprovalRequest
from approvals.runs import turn_away
from approvals.tasks import execute_approved
from audit.models import AuditEvent
from platforms import held_access
from platforms.access_token_model import AccessToken
from platforms.held_access import HeldAccess
from platforms.models import Platform
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


@pytest.mark.parametrize(
    ("meanwhile", "error"),
    [
        (_reauthenticate, "The connection's credential was replaced after the request."),
        (_edit_the_address, "is not what this server has stored"),
    ],
)
def test_a_token_is_sent_only_with_the_credential_and_to_the_address_that_it_was_got_for(
    acme: Side,
    platform: CountingPlatform,
    tokens: TokenService,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Any,
    error: str,
) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    approval = approve(acme, submit(acme))

    def then(*asked: Any, **named: Any) -> str:
        token = credential_of(*asked, **named)
        meanwhile(acme)
        return token

    monkeypatch.setattr(held_access, "credential_of", then)
    assert error in str(run(approval).execution_error)
    assert (len(tokens.requests), platform.requests) == (1, [])


def test_a_token_of_another_version_is_left_alone(acme: Side, platform: CountingPlatform, tokens: TokenService) -> None:
    connection = renewed(acme, tokens, "good-refresh-token-1")
    _, coverage = checked(approve(acme, submit(acme)), now=timezone.now())
    other = HeldAccess(connection_id=connection.pk, version=2, token="of-another-version")
    assert coverage.credential(held=other) == platform.token


@pytest.mark.parametrize("auth", [{}, [], 5, None, {"type": "bearer", "refresh": {"token_url": "nowhere"}}])
def test_a_platform_that_cannot_be_read_any_more_ends_the_call(acme: Side, tokens: TokenService, auth: Any) -> None:
    renewed(acme, tokens, "good-refresh-token-1")
    approval = approve(acme, submit(acme))
    Platform.objects.update(auth=Value(auth, JSONField()))
    assert run(approval).execution_error == "The call could not be checked. Nothing was sent."
    assert tokens.requests == []


def _edit_the_scope(approval: ApprovalRequest) -> None:
    ApprovalRequest.objects.filter(pk=approval.pk).update(scope="chat:admin")


def _suspend(approval: ApprovalRequest) -> None:
    Agent.objects.filter(pk=approval.agent_id).update(status=AgentStatus.SUSPENDED)


@pytest.mark.parametrize(
    ("edit", "event", "error"),
    [(_edit_the_scope, "approval.tampered", "Refused: "), (_suspend, "approval.failed", "The agent is suspended.")],
)
def test_what_must_not_be_sent_is_refused_at_once_and_no_token_asked_for(
    acme: Side, tokens: TokenService, edit: Callable[[ApprovalRequest], None], event: str, error: str
) -> None:
    renewed(acme, tokens, "down-refresh-token-1")
    approval = approve(acme, submit(acme))
    edit(approval)
    row = run(approval)
    assert (events(row)[-1], str(row.execution_error)[: len(error)]) == (event, error)
    assert tokens.requests == []


@pytest.mark.parametrize(
    ("edit", "event", "error"),
    [(_edit_the_scope, "approval.tampered", "Refused: "), (_suspend, "approval.failed", "The agent is suspended.")],
)
def test_what_has_waited_too_long_ends_with_what_is_wrong_with_it(
    acme: Side, edit: Callable[[ApprovalRequest], None], event: str, error: str
) -> None:
    approval = approve(acme, submit(acme))
    edit(approval)
    turn_away(approval_id=approval.pk, why="It is away.", reason="away", now=timezone.now() + timedelta(seconds=601))
    row = ApprovalRequest.objects.get(pk=approval.pk)
    assert (events(row)[-1], str(row.execution_error)[: len(error)]) == (event, error)


def test_who_finds_somebody_else_renewing_comes_again_and_keeps_no_thread(
    acme: Side, platform: CountingPlatform, tokens: TokenService
) -> None:
    connection = renewed(acme, tokens, "good-refresh-token-1")
    approval = approve(acme, submit(acme))
    AccessToken.objects.create(
        connection_id=connection.pk, credential_version=1, renewing_until=timezone.now() + timedelta(seconds=30)
    )
    with pytest.raises(NoAccess, match="being renewed"):
        credential_of(connection, timeout=3600, patience=0.1)
    execute(approval_id=approval.pk, now=timezone.now())
    assert ApprovalRequest.objects.get(pk=approval.pk).execution_started_at is None
    assert (tokens.requests, platform.requests) == ([], [])


def test_no_token_is_got_with_the_connection_of_a_stranger(acme: Side, stranger: Side, tokens: TokenService) -> None:
    theirs = renewed(stranger, tokens, "good-refresh-token-9")
    assert held_access.renewed_connection(owner_id=stranger.owner.pk, connection_id=theirs.pk) == theirs
    assert held_access.renewed_connection(owner_id=acme.owner.pk, connection_id=theirs.pk) is None


def test_the_token_is_in_no_text_of_what_holds_it(acme: Side, platform: CountingPlatform, tokens: TokenService) -> None:
    held = held_access.hold_access(renewed(acme, tokens, "good-refresh-token-1"), timeout=5)
    assert held is not None
    assert (held.token, platform.token in repr(held)) == (platform.token, False)
