"""Many writers on one chain, many signers of one checkpoint."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connection

from audit.checkpoints import checkpoint_moved_chains
from audit.models import AuditEvent, Checkpoint
from audit.verify import verify_owner
from tests.audit.conftest import NOW, Write

WRITERS, EACH = 8, 50


@pytest.mark.django_db(transaction=True)
def test_concurrent_writers_make_one_chain_without_gaps(owner_id: UUID, write: Write) -> None:
    def writer(_: int) -> None:
        try:
            write(owner_id, EACH)
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(writer, range(WRITERS)))
    seqs = list(AuditEvent.objects.for_owner(owner_id).order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, WRITERS * EACH + 1))
    verdict = verify_owner(owner_id=owner_id)
    assert verdict.verifies
    assert verdict.seq == WRITERS * EACH


@pytest.mark.django_db(transaction=True)
def test_two_beats_at_once_keep_one_checkpoint(owner_id: UUID, write: Write) -> None:
    start = Barrier(WRITERS, timeout=10)

    def beat(_: int) -> None:
        try:
            start.wait()
            checkpoint_moved_chains(now=NOW)
        finally:
            connection.close()

    for rows in range(1, 6):
        write(owner_id)
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(beat, range(WRITERS)))
        assert Checkpoint.objects.filter(owner_id=owner_id).count() == rows
