"""record(): what it stores, and when it refuses."""

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from audit.events import Actor, Event, Result
from audit.models import AuditEvent, ChainHead
from audit.recordable import CUT, LONG_TEXT, METADATA_LIMIT, SHORT_TEXT
from audit.records import record
from audit.verify import verify_owner
from tests.audit.conftest import BOT, NOW, Write


def test_event_names_are_subject_dot_verb() -> None:
    assert all(event.value.count(".") == 1 and event.value.islower() for event in Event)
    assert all(event.name.lower() == event.value.replace(".", "_") for event in Event)


@pytest.mark.django_db
def test_a_row_holds_every_fact_it_was_given(owner_id: UUID) -> None:
    request_id, approval_id = uuid4(), uuid4()
    facts: dict[str, Any] = {
        "agent_id": "agt_2",
        "agent_name": "böt",
        "platform": "acme-chat",
        "action": "chat:write",
        "session_id": "sess_0123456789abcdef",
        "reason": "it is late",
    }
    audit_id = record(
        event=Event.APPROVAL_DENIED,
        result=Result.DENIED,
        owner_id=owner_id,
        actor=Actor("member", "17", "owner@example.com"),
        now=NOW,
        request_id=request_id,
        approval_id=approval_id,
        metadata={"status": 200, "nested": {"b": [1, 2.5, None, True], "a": "ü"}},
        **facts,
    )
    row = AuditEvent.objects.get(id=audit_id)
    assert (row.owner_id, row.seq, row.at, row.event, row.result) == (owner_id, 1, NOW, "approval.denied", "denied")
    assert (row.actor_kind, row.actor_id, row.actor_label) == ("member", "17", "owner@example.com")
    assert (row.request_id, row.approval_id) == (request_id, approval_id)
    assert {name: getattr(row, name) for name in facts} == facts
    assert row.metadata == {"status": 200, "nested": {"b": [1, 2.5, None, True], "a": "ü"}}
    assert row.canonical.startswith('{"seq":1,"v":1,')
    assert row.canonical.isascii()
    assert len(str(audit_id)) == 36
    assert audit_id.version == 4


@pytest.mark.django_db(transaction=True)
def test_a_record_outside_a_transaction_is_refused(owner_id: UUID) -> None:
    with pytest.raises(transaction.TransactionManagementError, match="transaction"):
        record(event=Event.OWNER_CREATED, result=Result.INFO, owner_id=owner_id, actor=BOT, now=NOW)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_each_owner_has_a_chain_of_its_own(write: Write) -> None:
    first, second = uuid4(), uuid4()
    write(first, 2)
    write(second, 1)
    write(first, 1)
    assert list(AuditEvent.objects.for_owner(first).order_by("seq").values_list("seq", flat=True)) == [1, 2, 3]
    assert list(AuditEvent.objects.for_owner(second).values_list("seq", flat=True)) == [1]


class ChangeOfMindError(Exception):
    pass


def write_and_roll_back(write: Write, owner_id: UUID, count: int) -> None:
    with transaction.atomic():
        write(owner_id, count)
        raise ChangeOfMindError


@pytest.mark.django_db
def test_a_rollback_leaves_no_row_and_no_gap(owner_id: UUID, write: Write) -> None:
    write(owner_id, 2)
    with pytest.raises(ChangeOfMindError):
        write_and_roll_back(write, owner_id, 3)
    assert ChainHead.objects.get(owner_id=owner_id).seq == 2
    write(owner_id)
    assert list(AuditEvent.objects.for_owner(owner_id).order_by("seq").values_list("seq", flat=True)) == [1, 2, 3]
    assert verify_owner(owner_id=owner_id).verifies


@pytest.mark.django_db
def test_a_rollback_of_the_first_row_leaves_no_chain(owner_id: UUID, write: Write) -> None:
    with pytest.raises(ChangeOfMindError):
        write_and_roll_back(write, owner_id, 1)
    assert not ChainHead.objects.filter(owner_id=owner_id).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "metadata",
    [
        {"key": b"bytes"},
        {"key": [b"bytes"]},
        {"key": {"deep": bytearray(b"x")}},
        {"key": memoryview(b"x")},
        {"key": {1, 2}},
        {"key": NOW},
        {"key": uuid4()},
        {"key": object()},
        {1: "a key that is no text"},
        {"key": {None: 1}},
    ],
)
def test_metadata_that_is_not_json_is_refused(owner_id: UUID, write: Write, metadata: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="audit metadata"):
        write(owner_id, metadata=metadata)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_json_does_not_know_are_refused(owner_id: UUID, write: Write, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write(owner_id, metadata={"number": number})


@pytest.mark.django_db
def test_a_time_without_zone_is_refused(owner_id: UUID, write: Write) -> None:
    with pytest.raises(ValueError, match="time zone"):
        write(owner_id, now=datetime(2026, 3, 1))  # noqa: DTZ001 - the very thing refused


@pytest.mark.django_db
def test_a_time_in_another_zone_is_recorded_in_utc(owner_id: UUID, write: Write) -> None:
    write(owner_id, now=NOW.astimezone(timezone(timedelta(hours=5, minutes=45))))
    row = AuditEvent.objects.get(owner_id=owner_id)
    assert '"at":"2026-03-01T12:00:00.123456+00:00"' in row.canonical
    assert verify_owner(owner_id=owner_id).verifies


@pytest.mark.django_db
def test_texts_that_are_too_long_are_cut_and_the_cut_shows(owner_id: UUID, write: Write) -> None:
    write(owner_id, reason="r" * 10_000, agent_id="\U0001f600" * 400, platform="p" * SHORT_TEXT)
    row = AuditEvent.objects.get(owner_id=owner_id)
    assert len(row.reason) == LONG_TEXT
    assert row.reason.endswith(CUT)
    assert len(row.agent_id) == SHORT_TEXT
    assert row.agent_id.endswith(CUT)
    assert row.platform == "p" * SHORT_TEXT
    assert verify_owner(owner_id=owner_id).verifies


@pytest.mark.django_db
def test_large_metadata_loses_its_largest_values_first_and_says_so(owner_id: UUID, write: Write) -> None:
    write(owner_id, metadata={"status": 200, "body": "x" * 50_000, "list": [1] * 20_000, "url": "https://example.com"})
    row = AuditEvent.objects.get(owner_id=owner_id)
    assert (row.metadata["status"], row.metadata["url"]) == (200, "https://example.com")
    assert row.metadata["body"]["cut"] is True
    assert row.metadata["body"]["characters"] == 50_002
    assert row.metadata["list"]["cut"] is True
    assert len(row.canonical) < METADATA_LIMIT + 1000


@pytest.mark.django_db
@pytest.mark.parametrize(
    "metadata",
    [
        {f"key {number}": number for number in range(20_000)},
        {"k" * 100_000: 1},
        {"quotes": '"' * 100_000},
    ],
    ids=["many keys", "a long key", "a text that doubles when quoted"],
)
def test_metadata_of_any_shape_is_kept_below_the_limit(
    owner_id: UUID, write: Write, metadata: dict[str, object]
) -> None:
    write(owner_id, metadata=metadata)
    row = AuditEvent.objects.get(owner_id=owner_id)
    assert '"cut":true' in row.canonical
    assert len(row.canonical) < METADATA_LIMIT + 1000


@pytest.mark.django_db
def test_metadata_nested_too_deep_is_cut_and_the_cut_shows(owner_id: UUID, write: Write) -> None:
    nested: object = "bottom"
    for _ in range(5000):
        nested = [nested]
    write(owner_id, metadata={"nested": nested})
    row = AuditEvent.objects.get(owner_id=owner_id)
    assert CUT in str(row.metadata["nested"])
    assert "bottom" not in row.canonical
