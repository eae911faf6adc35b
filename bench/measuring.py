"""Which pages are measured, over which data, and how many queries each takes."""

import datetime
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.models import Agent
from approvals.models import Queue
from audit.browse import Key
from audit.models import AuditEvent
from bench.filling import fill_audit_log, fill_queue, make_owner, samples

Pages = list[tuple[str, str, dict[str, str]]]
FRAGMENT = {"X-Fragment": "1"}


def prepare(*, rows: int, calls: int) -> tuple[Client, Pages]:
    """Fill the database; a signed-in browser, and the pages as name, path, headers."""
    member = make_owner()
    owner, now = member.owner, timezone.now()
    fill_audit_log(owner=owner, rows=rows, now=now)
    fill_queue(owner=owner, calls=calls, now=now)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # as autovacuum does it
    client = Client(SERVER_NAME="localhost")
    client.force_login(member.user)
    request_id, approval_id, (at, seq) = samples(owner)
    version = Queue.objects.get(owner=owner).version
    day = at.astimezone(datetime.UTC)

    def log(**query: object) -> str:
        return f"/audit?{urlencode(query)}" if query else "/audit"

    def admin(model: str, **query: object) -> str:
        return f"/admin/{model}/?{urlencode(query)}"

    agent_id = Agent.objects.for_owner(owner).values_list("pk", flat=True).order_by("name")[2]
    row = AuditEvent.objects.filter(request_id=request_id).values_list("pk", flat=True)[0]
    pages: Pages = [
        ("queue", "/approvals", {}),
        ("queue, refresh, nothing changed", f"/approvals?version={version}", FRAGMENT),
        ("queue, refresh, something changed", f"/approvals?version={version - 1}", FRAGMENT),
        ("/audit", log(), {}),
        ("/audit, a page in the middle", log(before=Key(at, seq)), {}),
        ("/audit, policy decisions", log(tab="decisions"), {}),
        ("/audit, from and to", log(since=f"{day:%Y-%m-%dT00:00}", until=f"{day:%Y-%m-%dT23:59}"), {}),
        ("/audit, agent with half of the rows", log(agent="agent-00"), {}),
        ("/audit, agent with a hundredth", log(agent="agent-02"), {}),
        ("/audit, action", log(action="approval.denied"), {}),
        ("/audit, result", log(result="denied"), {}),
        ("/audit, rare result", log(result="unknown"), {}),
        ("/audit, platform", log(q="stripe"), {}),
        ("/audit, rare platform", log(q="rare"), {}),
        ("/audit, request id", log(q=request_id), {}),
        ("/audit, approval id", log(q=approval_id), {}),
        ("/audit, id that is nowhere", log(q="7d9f3a52-1111-4222-8333-444455556666"), {}),
        ("/audit, text that is rare", log(q="needle"), {}),
        ("/audit, text that is nowhere", log(q="nowhere to be found"), {}),
        ("/audit, agent and rare result", log(agent="agent-02", result="unknown"), {}),
        ("/audit, everything at once", log(tab="decisions", agent="agent-00", result="pending", q="release"), {}),
        ("/audit, one row and its story", f"/audit/{row}", {}),
        ("admin, audit rows", admin("audit/auditevent"), {}),
        ("admin, audit rows, request id", admin("audit/auditevent", q=request_id), {}),
        ("admin, audit rows, agent id", admin("audit/auditevent", q=agent_id), {}),
        ("admin, audit rows, result", admin("audit/auditevent", result="unknown"), {}),
        ("admin, audit rows, one day", admin("audit/auditevent", period=f"{day:%Y-%m-%d}"), {}),
        ("admin, one audit row", f"/admin/audit/auditevent/{row}/change/", {}),
        ("admin, approvals", admin("approvals/approvalrequest"), {}),
    ]
    return client, pages


def count_queries(client: Client, path: str, headers: dict[str, str]) -> int:
    options: dict[str, Any] = {"headers": headers}
    with CaptureQueriesContext(connection) as queries:
        client.get(path, **options)
    return len(queries)
