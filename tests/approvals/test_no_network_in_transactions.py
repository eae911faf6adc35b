"""While a platform is waited for no transaction is open: it would hold locks that others need. (The vault's: test_kms.)"""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from approvals import services
from approvals.execution import execute
from platforms import client as way_out
from tests.world import CountingPlatform, bearer, make_side, submit


@pytest.mark.django_db(transaction=True)
def test_a_platform_is_called_outside_of_any_transaction(
    client: Client, settings: Settings, platform: CountingPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = make_side("Acme", base_url=platform.url, token=platform.token)
    open_ones: list[bool] = []
    send = way_out.send

    def watched(**call: Any) -> Any:
        open_ones.append(connection.in_atomic_block or connection.connection is not None)
        return send(**call)

    monkeypatch.setattr(way_out, "send", watched)
    read = {"platform": "acme-chat", "scope": "chat:read", "method": "GET", "endpoint": "/api/messages"}
    answer = client.post("/v1/actions", read, content_type="application/json", headers=bearer(side.agent))
    assert answer.status_code == 200
    approval = submit(side)
    services.approve(
        member=side.approver, approval_id=approval.pk, digest=approval.digest, via="page", now=timezone.now()
    )
    execute(approval_id=approval.pk, now=timezone.now())
    assert open_ones == [False, False]
    assert len(platform.requests) == 2
