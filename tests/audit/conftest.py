"""Audit rows for tests, and the database superuser who can do what the application cannot."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction

from agentvalet import embedded
from audit.events import Actor, Event, Result
from audit.records import record

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
BOT = Actor("agent", "agt_1", "deploy-bot")

Write = Callable[..., list[UUID]]


@pytest.fixture
def owner_id() -> UUID:
    return uuid4()


@pytest.fixture
def write() -> Write:
    """`write(owner_id, count)` records so many rows, each with its own action, one transaction each."""

    def rows(owner_id: UUID, count: int = 1, **facts: Any) -> list[UUID]:
        written = []
        for number in range(1, count + 1):
            given: dict[str, Any] = {
                "event": Event.ACTION_ALLOWED,
                "result": Result.ALLOWED,
                "actor": BOT,
                "now": NOW,
                "request_id": uuid4(),
                "agent_id": "agt_1",
                "agent_name": "deploy-bot",
                "platform": "acme-chat",
                "action": f"chat:write {number}",
                "metadata": {"status": 200},
            }
            with transaction.atomic():
                written.append(record(owner_id=owner_id, **(given | facts)))
        return written

    return rows


@pytest.fixture
def superuser() -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """The test database as its superuser, autocommit."""
    name = str(connection.settings_dict["NAME"])
    with embedded.Postgres(data_dir=settings.DATA_DIR).connect(database=name) as db:
        yield db
