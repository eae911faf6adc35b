"""Many writers on one chain."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from django.db import connection

from audit.models import AuditEvent
from audit.verify import verify_owner
from tests.audit.conftest import Write

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
