"""Delegates and their links, for tests: named, mailed, opened and pressed."""

import re
from typing import Any
from uuid import uuid4

from django.test import Client
from django.utils import timezone

from agents import delegates
from agents.delegate_model import Delegate
from approvals import magic_links
from approvals.models import ApprovalRequest
from notifications import outbox
from notifications.deliveries import Channel
from tests.world import Side


def delegate_of(side: Side, email: str = "dana@elsewhere.example") -> Delegate:
    return delegates.add(member=side.admin, email=email, request_id=uuid4(), now=timezone.now())


def send_due() -> None:
    now = timezone.now()
    for pk in outbox.due(channel=Channel.MAIL, now=now).values_list("pk", flat=True):
        magic_links.mail(delivery_id=pk, now=now)


def open_link(token: str, client: Client | None = None, **extra: Any) -> Any:
    return (client or Client()).get("/approve", {"token": token}, **extra)


def fields_of(page: Any) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.content.decode()))


def press(token: str, decision: str, **change: str) -> Any:
    """Open the link in a fresh browser and press a button."""
    client = Client(enforce_csrf_checks=True)
    fields = fields_of(open_link(token, client))
    headers = {"Origin": "null"}  # what browsers send from a page without a Referer
    return client.post("/approve", fields | {"decision": decision} | change, headers=headers)


def now_in_database(approval: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=approval.pk)
