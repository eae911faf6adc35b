"""Asking for a missing permission: through HTTP for the agent, through the functions that hold the rules for people."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.utils import timezone

from agents.lifecycle import NotAllowed, NotPossible
from agents.models import Agent, AgentStatus
from audit.models import AuditEvent
from notifications.models import Notification
from platforms import access
from platforms.asks import AccessRequest
from platforms.grants import NoSuchScope
from platforms.models import Grant, Scope
from tests.world import Side, bearer, make_connection

WISH = {"platform": "acme-chat", "scope": "chat:admin", "reason": "to tidy up"}


def ask(client: Client, side: Side, body: Any = WISH) -> Any:
    return client.post(
        "/v1/access-request", json.dumps(body), content_type="application/json", headers=bearer(side.agent)
    )


def status(client: Client, side: Side, token: str) -> Any:
    return client.get(f"/v1/access-request/status/{token}", headers=bearer(side.agent))


def now_and_id() -> dict[str, Any]:
    return {"request_id": uuid4(), "now": timezone.now()}


@pytest.fixture
def asked(client: Client, acme: Side) -> UUID:
    Scope.objects.create(platform=acme.platform, name="chat:admin", rules=["* /admin/**"])
    return UUID(ask(client, acme).json()["request_token"])


def test_a_wish_waits_and_people_are_told(client: Client, acme: Side, asked: UUID) -> None:
    assert status(client, acme, str(asked)).json() == {"status": "pending"}
    row = AccessRequest.objects.get()
    assert (row.platform, row.scope, row.reason) == ("acme-chat", "chat:admin", "to tidy up")
    line = Notification.objects.get()
    assert (line.owner, line.title) == (acme.owner, "Acme bot asks for access to acme-chat:chat:admin")
    event = AuditEvent.objects.get()
    assert (event.event, event.result, event.actor_id) == ("access.requested", "pending", acme.agent.pk)


def test_the_answer_is_202_and_flat(client: Client, acme: Side) -> None:
    response = ask(client, acme)
    assert response.status_code == 202
    assert set(response.json()) == {"request_token", "status"}
    assert response.json()["status"] == "pending"


def test_the_same_wish_is_one_row_and_both_tokens_work(client: Client, acme: Side, asked: UUID) -> None:
    again = ask(client, acme, WISH | {"reason": "other words"}).json()
    other = ask(client, acme, WISH | {"scope": None}).json()
    assert again["request_token"] == str(asked) != other["request_token"]
    assert AccessRequest.objects.count() == 2
    assert AuditEvent.objects.count() == 2


@pytest.mark.parametrize(
    "body",
    [{"platform": "github", "scope": None, "reason": None}, {"platform": "github"}, {"platform": "g", "scope": ""}],
)
def test_nulls_are_the_same_as_absent_and_nothing_has_to_exist(client: Client, acme: Side, body: Any) -> None:
    assert ask(client, acme, body).status_code == 202
    row = AccessRequest.objects.get()
    assert (row.scope, row.reason) == ("", "")


BAD: list[Any] = [
    {},
    {"platform": None},
    {"platform": ""},
    {"platform": 5},
    {"platform": "x" * 64},
    {"platform": "Acme Chat"},
    {"platform": "a:b"},
    {"platform": "ac\nme"},
    WISH | {"scope": "x" * 129},
    WISH | {"scope": ["a"]},
    WISH | {"scope": "chat:read\x00"},
    WISH | {"scope": "<b>"},
    WISH | {"reason": {"a": 1}},
    [],
    "acme-chat",
    None,
]


@pytest.mark.parametrize("body", BAD)
def test_a_wish_that_is_none_is_refused(client: Client, acme: Side, body: Any) -> None:
    response = ask(client, acme, body)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert not AccessRequest.objects.exists()


def test_limits_are_inclusive_and_a_long_reason_is_cut_to_one_line(client: Client, acme: Side) -> None:
    body = {"platform": "x" * 63, "scope": "s" * 128, "reason": "why\n\x00\x1b[31m\u202e" + "y" * 600}
    assert ask(client, acme, body).status_code == 202
    reason = AccessRequest.objects.get().reason
    assert reason.startswith("why [31m yyy")
    assert len(reason) == 500


def test_no_more_wait_than_a_person_would_read(client: Client, acme: Side, stranger: Side) -> None:
    for number in range(access.MAX_PENDING):
        assert ask(client, acme, {"platform": f"p{number}"}).status_code == 202
    refused = ask(client, acme, {"platform": "one-more"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_pending")
    assert refused["Retry-After"] == "60"
    assert ask(client, acme, {"platform": "p0"}).status_code == 202  # waits already
    assert ask(client, stranger, {"platform": "p0"}).status_code == 202


def test_a_stranger_cannot_read_it(client: Client, acme: Side, stranger: Side, asked: UUID) -> None:
    assert status(client, stranger, str(asked)).status_code == 404
    assert status(client, acme, str(uuid4())).status_code == 404
    assert status(client, acme, "nonsense").status_code == 404
    assert client.get(f"/v1/access-request/status/{asked}").status_code == 401


def test_approving_grants_the_scope_and_asks_by_default(client: Client, acme: Side, asked: UUID) -> None:
    access.approve(member=acme.admin, request=asked, **now_and_id())
    assert status(client, acme, str(asked)).json() == {"status": "approved"}
    grant = Grant.objects.get(agent=acme.agent, scope__name="chat:admin")
    assert (grant.require_approval, grant.revoked_at) == (True, None)
    events = AuditEvent.objects.order_by("seq").values_list("event", "actor_label")
    assert list(events)[1:] == [
        ("permission.granted", acme.admin.user.email),
        ("access.approved", acme.admin.user.email),
    ]
    assert Notification.objects.get().withdrawn_at is not None


def test_the_owner_picks_scope_connection_time_and_whether_to_ask(acme: Side, asked: UUID) -> None:
    second = make_connection(acme.platform, "t", label="Second", default=False)
    end = timezone.now() + timedelta(hours=1)
    access.approve(
        member=acme.admin, request=asked, scope="chat:read", require_approval=False, connection_id=second.pk,
        expires_at=end, **now_and_id(),
    )  # fmt: skip
    grant = Grant.objects.get(agent=acme.agent, scope__name="chat:read")
    assert (grant.require_approval, grant.connection_id, grant.expires_at) == (False, second.pk, end)
    assert not Grant.objects.filter(scope__name="chat:admin").exists()


def hold(side: Side, scope: str, **boundaries: Any) -> Grant:
    Grant.objects.filter(pk=side.grants[scope].pk).update(**boundaries)
    return side.grants[scope]


def test_a_wish_for_what_is_held_takes_no_boundary_away(client: Client, acme: Side) -> None:
    sandbox = make_connection(acme.platform, "t", label="Sandbox", default=False)
    end = timezone.now() + timedelta(hours=1)
    held = hold(acme, "chat:write", connection=sandbox, expires_at=end)
    wish = UUID(ask(client, acme, WISH | {"scope": "chat:write"}).json()["request_token"])
    access.approve(member=acme.admin, request=wish, require_approval=False, **now_and_id())
    held.refresh_from_db()
    assert (held.connection_id, held.expires_at, held.require_approval) == (sandbox.pk, end, False)
    other = UUID(ask(client, acme, WISH | {"scope": ""}).json()["request_token"])
    later, main = end + timedelta(hours=1), acme.connection.pk
    access.approve(
        member=acme.admin, request=other, scope="chat:write", connection_id=main, expires_at=later, **now_and_id()
    )
    held.refresh_from_db()
    assert (held.connection_id, held.expires_at) == (main, later)


def test_what_has_run_out_is_given_again_on_the_same_connection(client: Client, acme: Side) -> None:
    sandbox = make_connection(acme.platform, "t", label="Sandbox", default=False)
    held = hold(acme, "chat:write", connection=sandbox, expires_at=timezone.now() - timedelta(seconds=1))
    wish = UUID(ask(client, acme, WISH | {"scope": "chat:write"}).json()["request_token"])
    access.approve(member=acme.admin, request=wish, **now_and_id())
    held.refresh_from_db()
    assert (held.connection_id, held.expires_at) == (sandbox.pk, None)


def test_a_revoked_agent_gets_nothing(acme: Side, asked: UUID) -> None:
    Agent.objects.filter(pk=acme.agent.pk).update(status=AgentStatus.REVOKED)
    with pytest.raises(NotPossible):
        access.approve(member=acme.admin, request=asked, **now_and_id())
    assert not Grant.objects.filter(scope__name="chat:admin").exists()
    assert AccessRequest.objects.get().status == "pending"
    access.deny(member=acme.admin, request=asked, **now_and_id())


def test_denying_grants_nothing_and_the_agent_may_ask_again(client: Client, acme: Side, asked: UUID) -> None:
    access.deny(member=acme.admin, request=asked, **now_and_id())
    assert status(client, acme, str(asked)).json() == {"status": "denied"}
    assert not Grant.objects.filter(scope__name="chat:admin").exists()
    assert AuditEvent.objects.latest("seq").event == "access.denied"
    assert ask(client, acme).json()["request_token"] != str(asked)


@pytest.mark.parametrize("verb", [access.approve, access.deny])
def test_the_first_answer_stands(acme: Side, asked: UUID, verb: Any) -> None:
    access.deny(member=acme.admin, request=asked, **now_and_id())
    count = AuditEvent.objects.count()
    with pytest.raises(access.AlreadyAnswered) as late:
        verb(member=acme.admin, request=asked, **now_and_id())
    assert late.value.request.decided_by == acme.admin.user.email
    assert AuditEvent.objects.count() == count


@pytest.mark.parametrize("verb", [access.approve, access.deny])
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_an_admin_grants(acme: Side, asked: UUID, verb: Any, role: str) -> None:
    with pytest.raises(NotAllowed):
        verb(member=acme.members[role], request=asked, **now_and_id())
    assert AccessRequest.objects.get().status == "pending"


@pytest.mark.parametrize("verb", [access.approve, access.deny])
def test_the_admin_of_a_stranger_finds_nothing(acme: Side, stranger: Side, asked: UUID, verb: Any) -> None:
    with pytest.raises(AccessRequest.DoesNotExist):
        verb(member=stranger.admin, request=asked, **now_and_id())


def test_what_does_not_exist_cannot_be_granted_and_the_wish_stays(
    client: Client, acme: Side, stranger: Side, asked: UUID
) -> None:
    elsewhere = UUID(ask(client, acme, {"platform": "github"}).json()["request_token"])
    Scope.objects.create(platform=stranger.platform, name="theirs", rules=[])
    with pytest.raises(NoSuchScope):
        access.approve(member=acme.admin, request=elsewhere, scope="repo", **now_and_id())
    with pytest.raises(NoSuchScope):
        access.approve(member=acme.admin, request=asked, scope="theirs", **now_and_id())
    with pytest.raises(NoSuchScope):
        access.approve(member=acme.admin, request=asked, connection_id=stranger.connection.pk, **now_and_id())
    assert set(AccessRequest.objects.values_list("status", flat=True)) == {"pending"}
    assert set(AuditEvent.objects.values_list("event", flat=True)) == {"access.requested"}
