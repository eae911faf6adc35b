"""A call that needs nobody's approval goes by the rights of the moment in which its intent is put on record."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from audit.events import Actor, Event, Result
from audit.records import record
from platforms.models import Grant
from tests.approvals.test_actions_api import WRITE, post
from tests.approvals.test_observe import observe
from tests.approvals.test_races import (
    numbers,
    revoke_grant,
    suspend_agent,
    together,
    wait_until_somebody_waits,
)
from tests.world import CountingPlatform, Side, change_platform, make_side

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(transactional_db: None, platform: CountingPlatform) -> Side:
    return make_side("Acme", base_url=platform.url, token=platform.token)


def _directly(side: Side, platform: CountingPlatform) -> Any:
    return post(Client(), side, WRITE)


def _observed(side: Side, platform: CountingPlatform) -> Any:
    return observe(Client(), side, {**WRITE, "action": "post"}, platform.token)


def _ask_first(side: Side) -> None:
    _put_on_record(side, Event.PERMISSION_APPROVAL_TOGGLE_CHANGED)
    Grant.objects.filter(pk=side.grants["chat:write"].pk).update(require_approval=True)


def _move(side: Side) -> None:
    _put_on_record(side, Event.PLATFORM_CHANGED)
    change_platform(side.platform, base_url=f"{side.platform.base_url}/v2")


def _put_on_record(side: Side, event: Event) -> None:
    record(
        event=event,
        result=Result.INFO,
        owner_id=side.owner.pk,
        actor=Actor("member", str(side.admin.user_id), side.admin.user.email),
        now=timezone.now(),
    )


LATE_CHANGES: dict[str, tuple[Callable[[Side, CountingPlatform], Any], Callable[[Side], None], int]] = {
    "a direct call, grant revoked": (_directly, revoke_grant, 403),
    "a direct call, agent suspended": (_directly, suspend_agent, 403),
    "a direct call, approval demanded": (_directly, _ask_first, 202),
    "a direct call, platform moved": (_directly, _move, 200),
    "an observed call, platform moved": (_observed, _move, 200),
    "an observed call, agent suspended": (_observed, suspend_agent, 403),
    "an observed call, approval demanded": (_observed, _ask_first, 403),
}


@pytest.mark.parametrize(("call", "change", "status"), LATE_CHANGES.values(), ids=LATE_CHANGES.keys())
def test_a_call_that_waits_for_nobody_reads_the_rights_after_a_change_that_is_on_record(
    acme: Side, platform: CountingPlatform, call: Callable[..., Any], change: Callable[[Side], None], status: int
) -> None:
    """The change is made first and not committed yet; the call, which has read the old rights, comes to the audit log."""
    Grant.objects.update(require_approval=False)
    made = threading.Event()

    def change_slowly() -> None:
        with transaction.atomic():
            change(acme)
            made.set()
            wait_until_somebody_waits()

    def make() -> Any:
        made.wait(10)
        return call(acme, platform)

    _, answer = together(change_slowly, make)
    assert answer.status_code == status
    assert len(numbers("action.sending")) == (status == 200)
    assert [sent["path"] for sent in platform.requests] == (["/v2/api/messages"] if status == 200 else [])
