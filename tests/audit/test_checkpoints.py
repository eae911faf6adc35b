"""Checkpoints: signed with a key that is not in the database, kept elsewhere, read back."""

import base64
import json
import logging
import secrets
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_init
from pytest_django import Settings

from audit import tasks
from audit.checkpoints import checkpoint_moved_chains, latest_checkpoint
from audit.models import Checkpoint
from audit.signing import exported, imported, is_signed, own_public_key
from audit.verify import verify_owner
from tests.audit.conftest import NOW, Write

pytestmark = pytest.mark.django_db


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def test_every_chain_that_moved_gets_one_checkpoint(write: Write) -> None:
    first, second = uuid4(), uuid4()
    write(first, 2)
    write(second, 1)
    checkpoint_moved_chains(now=NOW)
    write(first, 3)
    checkpoint_moved_chains(now=NOW)
    assert checkpoint_moved_chains(now=NOW) == []
    assert sorted(Checkpoint.objects.values_list("owner_id", "seq")) == sorted([(first, 2), (first, 5), (second, 1)])


def test_the_task_signs_where_the_chains_stand(owner_id: UUID, write: Write) -> None:
    write(owner_id, 2)
    tasks.checkpoint()
    assert tasks.checkpoint.name == "audit.checkpoint"
    assert verify_owner(owner_id=owner_id).checkpoint_seq == 2


def test_a_checkpoint_is_logged_so_that_a_copy_leaves_the_database(
    owner_id: UUID, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write(owner_id)
    with caplog.at_level(logging.INFO, logger="audit.checkpoints"):
        checkpoint_moved_chains(now=NOW)
    [logged] = imported(caplog.messages[0].removeprefix("audit checkpoint "))
    assert is_signed(logged, trusted=frozenset({own_public_key()}))


def test_an_exported_checkpoint_comes_back_as_it_was(owner_id: UUID, write: Write) -> None:
    write(owner_id, 2)
    checkpoint_moved_chains(now=NOW)
    stored = latest_checkpoint(owner_id=owner_id)
    assert stored is not None
    [back] = imported(f"\n{exported(stored)}\n\n")
    assert exported(back) == exported(stored)
    assert is_signed(back, trusted=frozenset({own_public_key()}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner_id", "00000000-0000-4000-8000-000000000000"),
        ("seq", 1),
        ("hash", "00" * 32),
        ("at", "2026-03-01T12:00:01+00:00"),
        ("public_key", base64.b64encode(bytes(32)).decode()),
        ("signature", base64.b64encode(bytes(64)).decode()),
        ("signature", ""),
    ],
)
def test_a_changed_checkpoint_is_not_signed(owner_id: UUID, write: Write, field: str, value: object) -> None:
    write(owner_id, 2)
    checkpoint_moved_chains(now=NOW)
    fields = json.loads(exported(Checkpoint.objects.get()))
    [changed] = imported(json.dumps(fields | {field: value}))
    assert not is_signed(changed, trusted=frozenset({own_public_key()}))


def test_signing_the_next_rows_reads_a_bounded_number_of_old_checkpoints(owner_id: UUID, write: Write) -> None:
    for _ in range(40):
        write(owner_id, 1)
        checkpoint_moved_chains(now=NOW)
    write(owner_id, 1)
    read: list[object] = []

    def count(instance: Checkpoint, **_: object) -> None:
        read.append(instance)

    post_init.connect(count, sender=Checkpoint)
    try:
        [verdict] = checkpoint_moved_chains(now=NOW)
    finally:
        post_init.disconnect(count, sender=Checkpoint)
    assert verdict.seq == 41
    assert len(read) <= 15


NOT_CHECKPOINTS = [
    "x",
    "[]",
    "1",
    "null",
    '"text"',
    "{}",
    '{"owner_id": 1}',
    "[" * 100_000,
]


@pytest.mark.parametrize("text", NOT_CHECKPOINTS, ids=lambda text: text[:12])
def test_a_line_that_is_no_checkpoint_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="line 2 is not a checkpoint"):
        imported("\n" + text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seq", 2**63),
        ("seq", None),
        ("at", "2026-03-01T12:00:00"),
        ("at", "yesterday"),
        ("hash", "zz"),
        ("public_key", "*"),
        ("owner_id", "acme"),
    ],
)
def test_a_checkpoint_with_a_wrong_field_is_named(owner_id: UUID, write: Write, field: str, value: object) -> None:
    write(owner_id)
    checkpoint_moved_chains(now=NOW)
    fields = json.loads(exported(Checkpoint.objects.get()))
    with pytest.raises(ValueError, match="line 1 is not a checkpoint"):
        imported(json.dumps(fields | {field: value}))


def test_after_a_change_of_key_new_checkpoints_are_signed_and_old_ones_count_when_vouched_for(
    owner_id: UUID, write: Write, settings: Settings
) -> None:
    write(owner_id, 2)
    checkpoint_moved_chains(now=NOW)
    old_key = own_public_key()
    settings.AUDIT_KEY = new_key()
    unvouched = verify_owner(owner_id=owner_id)
    assert (unvouched.verifies, unvouched.checkpoint_seq, unvouched.foreign_checkpoints) == (True, None, 1)
    assert "(1 by unknown keys left out)" in str(unvouched)
    vouched = verify_owner(owner_id=owner_id, trusted_keys=frozenset({old_key}))
    assert (vouched.verifies, vouched.checkpoint_seq, vouched.foreign_checkpoints) == (True, 2, 0)
    [verdict] = checkpoint_moved_chains(now=NOW)
    assert verdict.verifies
    latest = latest_checkpoint(owner_id=owner_id)
    assert latest is not None
    assert (latest.seq, bytes(latest.public_key)) == (2, own_public_key())
    assert checkpoint_moved_chains(now=NOW) == []


@pytest.mark.parametrize("key", ["", "not base64!", base64.b64encode(bytes(31)).decode()])
def test_without_a_key_nothing_is_signed_and_a_sentence_says_so(
    owner_id: UUID, write: Write, settings: Settings, key: str
) -> None:
    write(owner_id)
    settings.AUDIT_KEY = key
    with pytest.raises(ImproperlyConfigured, match="AGENTVALET_AUDIT_KEY is not a key"):
        checkpoint_moved_chains(now=NOW)
    assert not Checkpoint.objects.exists()
