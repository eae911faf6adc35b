"""A database that goes away in the middle of a call, and a slow platform beside it."""

import threading
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from approvals import execution, runs
from approvals.call_log import CallLog
from approvals.execution import execute
from approvals.models import ApprovalRequest
from audit.models import AuditEvent
from platforms import traffic
from tests.approvals.test_actions_api import READ, post
from tests.approvals.test_decisions import approve
from tests.boot import superuser
from tests.runtime.installation import eventually
from tests.world import CountingPlatform, Side, make_side, submit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def acme(transactional_db: None, platform: CountingPlatform) -> Side:
    return make_side("Acme", base_url=platform.url, token=platform.token)


def in_a_worker(approval: ApprovalRequest) -> threading.Thread:
    def work() -> None:
        execute(approval_id=approval.pk, now=timezone.now())
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def checked_out() -> int:
    """How many connections of the pool are in use."""
    stats: dict[str, Any] = connection.pool.get_stats()  # type: ignore[attr-defined]
    return int(stats["pool_size"]) - int(stats["pool_available"])


def test_an_answer_survives_a_restart_of_the_database(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme, endpoint="/slow/0.5"))
    worker = in_a_worker(approval)
    assert eventually(lambda: platform.requests)
    with superuser("postgres") as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [connection.settings_dict["NAME"]],
        )
    worker.join()
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # the rest of it is dead, too
    done = ApprovalRequest.objects.get(pk=approval.pk)
    assert (done.result_status, done.execution_error) == (200, None)
    assert len(platform.requests) == 1


def test_a_slow_platform_holds_no_connection(acme: Side, platform: CountingPlatform) -> None:
    approval = approve(acme, submit(acme, endpoint="/slow/0.5"))
    connection.close()
    worker = in_a_worker(approval)
    assert eventually(lambda: platform.requests)
    in_use = checked_out()
    worker.join()
    assert in_use == 0


def breaks_once(monkeypatch: pytest.MonkeyPatch, where: object, name: str, *, done: bool) -> None:
    """The function loses its connection the first time: after it has `done` its work, or before."""
    real, calls = getattr(where, name), iter([True])

    def broken(*args: Any, **kwargs: Any) -> Any:
        if next(calls, False):
            if done:
                real(*args, **kwargs)
            raise OperationalError("server closed the connection unexpectedly")
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, broken)


@pytest.mark.parametrize(
    ("where", "name", "done"),
    [(runs, "finish", False), (runs, "finish", True), (execution, "note_use", False), (execution, "note_use", True)],
    ids=["before the outcome", "at the acknowledgement of its COMMIT", "before the use", "after the use"],
)
def test_an_answer_is_on_record_once_wherever_the_connection_breaks(
    acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch, where: object, name: str, done: bool
) -> None:
    approval = approve(acme, submit(acme))
    breaks_once(monkeypatch, where, name, done=done)
    execute(approval_id=approval.pk, now=timezone.now())
    ended = list(AuditEvent.objects.filter(approval_id=approval.pk).order_by("seq"))[3:]
    assert [(row.event, row.metadata["late"]) for row in ended] == [("approval.executed", False)]
    assert len(platform.requests) == 1


@pytest.mark.parametrize("done", [False, True])
def test_a_direct_answer_is_on_record_once_and_reaches_its_agent(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    breaks_once(monkeypatch, CallLog, "_write_answer", done=done)
    answer = post(client, acme, READ)
    assert answer.status_code == 200
    (row,) = AuditEvent.objects.filter(event="action.allowed")
    assert answer.json()["_meta"]["audit_id"] == str(row.pk)
    assert len(platform.requests) == 1


def test_an_answer_is_written_down_before_the_place_is_given_back(
    client: Client, acme: Side, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise SystemExit

    approval = approve(acme, submit(acme))
    monkeypatch.setattr(traffic, "_leave", dies)
    with pytest.raises(SystemExit):
        execute(approval_id=approval.pk, now=timezone.now())
    with pytest.raises(SystemExit):
        post(client, acme, READ)
    assert ApprovalRequest.objects.get(pk=approval.pk).result_status == 200
    assert AuditEvent.objects.filter(event="action.allowed").count() == 1
