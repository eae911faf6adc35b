"""A database that goes away in the middle of a call, and a slow platform beside it."""

import threading
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from approvals.execution import execute
from approvals.models import ApprovalRequest
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
