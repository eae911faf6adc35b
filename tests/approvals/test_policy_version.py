"""The policy version: what was in force when a call was asked for, on the card, under the seal, and never a check."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from approvals.binding import digest_of, read_form, write_form
from approvals.execution import execute
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms.coverage import policy_version_of
from platforms.models import Connection, Grant, Platform, Scope
from tests.approvals.test_decisions import approve
from tests.world import CountingPlatform, Side, submit

DOCS = Path(settings.BASE_DIR) / "docs" / "binding.md"


def version_of(approval: ApprovalRequest) -> str:
    return read_form(bytes(approval.form)).policy_version


def test_the_documented_example_is_what_is_computed() -> None:
    text = DOCS.read_text()
    stored, policy = re.findall(r"```json\n(.*)\n```", text)
    form = read_form(stored.encode())
    assert write_form(form) == stored.encode()
    assert f"Its digest is `{digest_of(stored.encode())}`." in text
    assert policy_version_of(**json.loads(policy)) == form.policy_version
    assert f"is policy version `{form.policy_version}`." in text


def test_it_is_on_record_with_the_request(acme: Side) -> None:
    approval = submit(acme)
    version = version_of(approval)
    assert re.fullmatch("[0-9a-f]{16}", version)
    assert AuditEvent.objects.get(event="approval.requested").metadata["policy_version"] == version


def _regrant(side: Side) -> None:
    Grant.objects.filter(pk=side.grants["chat:write"].pk).update(revoked_at=timezone.now())
    Grant.objects.create(agent=side.agent, scope=side.grants["chat:write"].scope, require_approval=True)


def _widen(side: Side) -> None:
    Scope.objects.filter(name="chat:write").update(rules=["* /**"])


def _ask_for_the_connection(side: Side) -> None:
    Connection.objects.update(require_approval=True)


def _ask_for_the_connection_alone(side: Side) -> None:
    Connection.objects.update(require_approval=True)
    Grant.objects.update(require_approval=False)


def _place_elsewhere(side: Side) -> None:
    Platform.objects.update(auth={"type": "header", "name": "X-Api-Key"})


CHANGES = [_regrant, _widen, _ask_for_the_connection, _ask_for_the_connection_alone, _place_elsewhere]


@pytest.mark.parametrize("change", CHANGES, ids=[change.__name__.strip("_") for change in CHANGES])
def test_the_same_call_under_another_policy_is_a_card_of_its_own(acme: Side, change: Callable[[Side], None]) -> None:
    first = submit(acme)
    assert submit(acme).pk == first.pk
    change(acme)
    second = submit(acme)
    assert second.pk != first.pk
    assert second.digest != first.digest
    assert version_of(second) != version_of(first)
    first.refresh_from_db()
    assert first.decision == "pending"


def test_it_is_a_record_and_not_a_check(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme))
    _widen(acme)  # covers the call still
    execute(approval_id=approval.pk, now=timezone.now())
    assert len(platform.requests) == 1


def test_the_headers_of_the_platform_are_in_the_call_and_on_its_card(client: Client, acme: Side) -> None:
    auth = {"type": "header", "name": "X-Api-Key", "prefix": "Key ", "headers": {"X-Api-Version": "2024-01-01"}}
    Platform.objects.update(auth=auth)
    approval = submit(acme)
    form = read_form(bytes(approval.form))
    assert (form.placement, form.headers) == ("X-Api-Key: Key *", {"X-Api-Version": "2024-01-01"})
    client.force_login(acme.approver.user)
    page = client.get(f"/approvals/{approval.pk}").content.decode()
    assert "X-Api-Key: Key *" in page
    assert "X-Api-Version: 2024-01-01" in page
