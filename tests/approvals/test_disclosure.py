"""`_meta.connection` and `_agentvalet.connection`: an agent is told which connection was taken where it named none."""

import json
from typing import Any

from django.test import Client
from django.utils import timezone

from approvals.execution import execute
from approvals.models import ApprovalRequest
from approvals.services import approve
from platforms.models import Connection
from tests.approvals.test_actions_api import READ, WRITE, post
from tests.world import CountingPlatform, Side, bearer, make_connection, new_token


def expected(used: Connection, other: Connection, shown: dict[str, Any]) -> bool:
    return (
        shown["used"] == str(used.pk)
        and shown["label"] == "Main"
        and shown["defaulted"] is True
        and shown["others"] == [{"connection_id": str(other.pk), "label": "Other"}]
        and "connection_id" in shown["hint"]
    )


def run(client: Client, side: Side, call: dict[str, Any]) -> dict[str, Any]:
    """Have the call approved and made; what the agent polls."""
    approval_id = post(client, side, call).json()["approval_id"]
    approval = ApprovalRequest.objects.get(pk=approval_id)
    approve(member=side.admin, approval_id=approval.pk, digest=approval.digest, via="web", now=timezone.now())
    execute(approval_id=approval.pk, now=timezone.now())
    polled: dict[str, Any] = client.get(f"/v1/approvals/{approval_id}", headers=bearer(side.agent)).json()
    return polled


def test_a_single_connection_is_nothing_to_tell(client: Client, acme: Side) -> None:
    assert "connection" not in post(client, acme, READ).json()["_meta"]
    assert "connection" not in run(client, acme, WRITE)["result"]["data"]["_meta"]


def test_a_direct_answer_says_which_connection_was_taken(client: Client, acme: Side) -> None:
    other = make_connection(acme.platform, new_token(), label="Other", default=False)
    assert expected(acme.connection, other, post(client, acme, READ).json()["_meta"]["connection"])


def test_a_named_connection_is_nothing_to_tell(client: Client, acme: Side) -> None:
    make_connection(acme.platform, new_token(), label="Other", default=False)
    answer = post(client, acme, READ | {"connection_id": str(acme.connection.pk)}).json()
    assert "connection" not in answer["_meta"]


def test_a_platforms_error_carries_it_beside_its_own_keys(client: Client, acme: Side) -> None:
    other = make_connection(acme.platform, new_token(), label="Other", default=False)
    answer = post(client, acme, READ | {"endpoint": "/status/404"}).json()
    assert answer["status_was"] == 404
    assert expected(acme.connection, other, answer["_agentvalet"]["connection"])


def test_a_failure_of_ours_says_whose_credential_was_refused(client: Client, acme: Side) -> None:
    other = make_connection(acme.platform, new_token(), label="Other", default=False)
    answer = post(client, acme, READ | {"endpoint": "/status/401"}).json()
    assert answer["code"] == "reauth_failed"
    assert expected(acme.connection, other, answer["_agentvalet"]["connection"])
    assert "upstream" not in answer["_agentvalet"]


def test_an_approved_answer_says_it_too(client: Client, acme: Side) -> None:
    other = make_connection(acme.platform, new_token(), label="Other", default=False)
    polled = run(client, acme, WRITE)
    assert expected(acme.connection, other, polled["result"]["data"]["_meta"]["connection"])


def test_an_approved_error_says_it_too(client: Client, acme: Side) -> None:
    other = make_connection(acme.platform, new_token(), label="Other", default=False)
    polled = run(client, acme, WRITE | {"endpoint": "/status/409"})
    assert polled["result"]["status"] == 409
    assert polled["result"]["data"]["status_was"] == 409
    assert expected(acme.connection, other, polled["result"]["data"]["_agentvalet"]["connection"])


def test_the_approver_decides_on_the_connection_that_was_taken(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    """What became the default in between is not used: the card named the other one."""
    other = make_connection(acme.platform, new_token(), label="Other", default=False)
    approval_id = post(client, acme, WRITE).json()["approval_id"]
    Connection.objects.filter(pk=acme.connection.pk).update(is_default=False)
    Connection.objects.filter(pk=other.pk).update(is_default=True)
    approval = ApprovalRequest.objects.get(pk=approval_id)
    approve(member=acme.admin, approval_id=approval.pk, digest=approval.digest, via="web", now=timezone.now())
    execute(approval_id=approval.pk, now=timezone.now())
    assert platform.requests[0]["headers"]["Authorization"] == f"Bearer {platform.token}"


def test_labels_of_another_owner_are_not_told(client: Client, acme: Side, stranger: Side) -> None:
    make_connection(acme.platform, new_token(), label="Other", default=False)
    assert "Other" not in json.dumps(post(client, stranger, READ).json())
