"""What docs/operations.md has an operator run on a database that was put back from a backup."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from approvals.models import ApprovalRequest
from approvals.tasks import sweep
from tests.approvals.test_decisions import approve
from tests.approvals.test_runs import run
from tests.world import CountingPlatform, Side, submit

pytestmark = pytest.mark.django_db


def test_nothing_of_the_backup_is_sent(acme: Side, platform: CountingPlatform) -> None:
    pages = (Path(settings.BASE_DIR) / "docs" / "operations.md").read_text()
    (statement,) = re.findall(r"UPDATE approvals_approvalrequest SET [^\"]+", pages)
    waiting = submit(acme, body='{"n":1}')
    approved = approve(acme, submit(acme, body='{"n":2}'))
    done = run(approve(acme, submit(acme, body='{"n":3}')))
    with connection.cursor() as cursor:
        cursor.execute(statement)
    sweep()
    assert ApprovalRequest.objects.get(pk=waiting.pk).decision == "expired"
    begun = ApprovalRequest.objects.get(pk=approved.pk)
    assert begun.execution_started_at is not None
    assert run(begun).executed_at is None  # until its lease is over: then it is unknown
    assert ApprovalRequest.objects.get(pk=done.pk).result_status == 200
    assert len(platform.requests) == 1
