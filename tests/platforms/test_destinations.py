"""A credential goes where this server was told to send it, whatever somebody has written into the database since."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client

from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.connecting import reauthenticate
from platforms.definitions import Definition
from platforms.destinations import DestinationChanged
from platforms.grants import Change, change_of
from platforms.models import Connection, Platform
from platforms.setup import put_platform
from platforms.stored_credentials import credential_of
from tests.approvals.test_actions_api import READ, post
from tests.approvals.test_decisions import approve
from tests.approvals.test_runs import run
from tests.world import CountingPlatform, Side, make_connection, submit

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def move_connection(side: Side) -> None:
    """To a platform whose own connection is in order: its seal is copied along."""
    evil = Platform.objects.create(
        owner=side.owner, slug="evil", name="E", base_url=side.platform.base_url, auth={"type": "bearer"}
    )
    theirs = make_connection(evil, "tok-of-their-own")
    Platform.objects.filter(pk=side.platform.pk).update(slug="was")
    Platform.objects.filter(pk=evil.pk).update(slug="acme-chat")
    side.grants["chat:read"].scope.platform_id = evil.pk
    side.grants["chat:read"].scope.save()
    Connection.objects.filter(pk=theirs.pk).delete()
    Connection.objects.filter(pk=side.connection.pk).update(platform=evil, destination=theirs.destination)


EDITS: dict[str, Callable[[Side], object]] = {
    "another host": lambda side: Platform.objects.update(base_url=side.platform.base_url.replace("127.0", "127.1")),
    "another path": lambda side: Platform.objects.update(base_url=f"{side.platform.base_url}/echo"),
    "another placement": lambda side: Platform.objects.update(auth={"type": "query", "name": "q"}),
    "a header more": lambda side: Platform.objects.update(auth={"type": "bearer", "headers": {"X-Forward": "evil"}}),
    "another platform": move_connection,
    "no seal": lambda side: Connection.objects.update(destination=""),
    "another key": lambda side: Connection.objects.update(destination="0" * 64),
}


@pytest.mark.parametrize("edit", EDITS)
def test_after_an_edit_in_the_database_the_credential_stays_where_it_is(
    client: Client, acme: Side, platform: CountingPlatform, edit: str
) -> None:
    EDITS[edit](acme)
    answer = post(client, acme, READ)
    assert (answer.status_code, answer.json()["code"]) == (502, "destination_changed")
    assert platform.requests == []
    last = AuditEvent.objects.order_by("seq").last()
    assert last is not None
    assert (last.event, last.reason) == ("action.failed", "destination_changed")
    with pytest.raises(DestinationChanged):  # nor for a test of the connection
        credential_of(Connection.objects.get(pk=acme.connection.pk))


def test_nor_is_it_sent_for_a_call_that_was_approved_before(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    Platform.objects.update(auth={"type": "header", "name": "X-Echo"})
    done: ApprovalRequest = run(approval)
    assert done.execution_error is not None
    assert done.execution_error.endswith("Nothing was sent.")
    assert platform.requests == []


def redefine(side: Side, *, base_url: str) -> None:
    definition = Definition(slug="acme-chat", name="Acme Chat", base_url=base_url, auth={"type": "bearer"})
    with transaction.atomic():
        put_platform(owner=side.owner, definition=definition, change=of(side))


def of(side: Side) -> Change:
    return change_of(side.admin, request_id=uuid4(), now=NOW)


def test_an_owner_who_moves_the_platform_takes_its_connections_along(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    redefine(acme, base_url=f"{platform.url}/v2")
    assert post(client, acme, READ).status_code == 200
    assert platform.requests[0]["path"].startswith("/v2/")


def test_a_move_by_the_owner_makes_nothing_good_that_was_edited_before(
    client: Client, acme: Side, platform: CountingPlatform
) -> None:
    Platform.objects.update(base_url=f"{platform.url}/evil")
    redefine(acme, base_url=f"{platform.url}/v2")
    assert post(client, acme, READ).json()["code"] == "destination_changed"
    assert platform.requests == []


@pytest.mark.parametrize("same", [True, False])
def test_giving_the_credential_again_makes_it_good(
    client: Client, acme: Side, platform: CountingPlatform, same: bool
) -> None:
    Connection.objects.update(destination="")
    token = platform.token if same else "tok-a-new-one-0123456789"
    reauthenticate(member=acme.admin, connection_id=acme.connection.pk, credential=token, request_id=uuid4(), now=NOW)
    assert post(client, acme, READ).json().get("code") != "destination_changed"
    assert platform.requests[0]["headers"]["Authorization"] == f"Bearer {token}"
