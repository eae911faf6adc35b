"""A known agent that is refused anything leaves a row behind: once a minute for each reason, whoever it is."""

from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from audit.models import AuditEvent
from platforms import access
from tests.platforms.test_children import child_of
from tests.world import Side, bearer, submit

NOWHERE = UUID(int=7)  # in the names of tests, which are the same in every process
CHAT = [{"platform": "acme-chat", "scopes": ["chat:read"]}]


def send(client: Client, headers: dict[str, str], path: str, body: Any) -> Any:
    if body is None:
        return client.get(path, headers=headers)
    return client.post(path, body, content_type="application/json", headers=headers)


def reasons(side: Side) -> list[tuple[str, str]]:
    rows = AuditEvent.objects.filter(owner_id=side.owner.pk, event="action.denied").order_by("seq")
    return [(row.agent_id, row.reason) for row in rows]


OF_AN_AGENT: list[tuple[str, Any, int, str]] = [
    ("/v1/authzen/access", {"subject": {"id": "agt_other"}, "resource": {"id": "a:b"}}, 403, "subject_mismatch"),
    ("/v1/authzen/access", {"subject": None}, 400, "invalid_request"),
    ("/v1/access-request", {"platform": "A B"}, 400, "invalid_request"),
    ("/v1/access-request", "{", 400, "invalid_request"),
    ("/v1/agents/children", {}, 400, "invalid_request"),
    ("/v1/agents/children", {"grants": CHAT, "name": "\u200b"}, 400, "invalid_request"),
    ("/v1/agents/children", {"grants": []}, 403, "no_scopes_after_attenuation"),
    ("/v1/agents/self/diagnostics", {}, 400, "invalid_request"),
    ("/v1/revoke-request", {"reason": 5}, 400, "invalid_request"),
    (f"/v1/approvals/{NOWHERE}", None, 404, "not_found"),
    (f"/v1/access-request/status/{NOWHERE}", None, 404, "not_found"),
]
OF_A_CHILD: list[tuple[str, Any]] = [
    ("/v1/access-request", {"platform": "acme-chat"}),
    ("/v1/revoke-request", {}),
    ("/v1/agents/children", {"grants": CHAT}),
]


@pytest.mark.parametrize(("path", "body", "status", "reason"), OF_AN_AGENT)
def test_what_an_agent_is_refused(client: Client, acme: Side, path: str, body: Any, status: int, reason: str) -> None:
    for _ in range(3):
        assert send(client, bearer(acme.agent), path, body).status_code == status
    assert reasons(acme) == [(acme.agent.pk, reason)]


@pytest.mark.parametrize(("path", "body"), OF_A_CHILD)
def test_what_a_child_is_refused(client: Client, acme: Side, path: str, body: Any) -> None:
    child, headers = child_of(client, acme)
    for _ in range(2):
        assert send(client, headers, path, body).status_code == 403
    assert reasons(acme) == [(child.pk, "delegation_depth_exceeded")]


def test_a_child_too_many(client: Client, acme: Side, settings: Settings) -> None:
    settings.MAX_CHILDREN = 0
    assert send(client, bearer(acme.agent), "/v1/agents/children", {"grants": CHAT}).status_code == 409
    assert reasons(acme) == [(acme.agent.pk, "child_limit")]


def test_a_wish_too_many(client: Client, acme: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MAX_PENDING", 0)
    assert send(client, bearer(acme.agent), "/v1/access-request", {"platform": "acme-chat"}).status_code == 429
    assert reasons(acme) == [(acme.agent.pk, "too_many_pending")]


def test_the_approval_of_a_stranger(client: Client, acme: Side, stranger: Side) -> None:
    theirs = submit(stranger)
    assert send(client, bearer(acme.agent), f"/v1/approvals/{theirs.pk}", None).status_code == 404
    assert reasons(acme) == [(acme.agent.pk, "not_found")]
    assert reasons(stranger) == []
