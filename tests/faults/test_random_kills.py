"""Thousands of approvals while everything is killed at random, over and over (`make faults`)."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.faults.site import Site
from tests.faults.storm import storm
from tests.world import CountingPlatform

pytestmark = [pytest.mark.services, pytest.mark.faults]

APPROVALS = int(os.environ.get("FAULTS_APPROVALS", "2000"))
LIFETIME, TIMEOUT, MARGIN = 30, 3, 5  # seconds


@pytest.fixture
def site(running_platform: CountingPlatform) -> Iterator[Site]:
    limits = {
        "AGENTVALET_APPROVAL_LIFETIME": str(LIFETIME),
        "AGENTVALET_APPROVED_TIMEOUT": str(TIMEOUT),
        "AGENTVALET_LEASE_MARGIN": str(MARGIN),
    }
    site = Site(running_platform, extra=limits)
    try:
        site.start()
        yield site
    finally:
        site.remove()


def test_no_call_is_lost_or_made_twice_whatever_dies(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(10**6))
    with capsys.disabled():
        print(f"\nFAULTS_SEED={seed}", flush=True)  # noqa: T201 - also of a run that never ends
        account = storm(site, approvals=APPROVALS, seed=seed, calm=30, patience=LIFETIME + TIMEOUT + MARGIN + 30)
        print(account)  # noqa: T201 - the table is what one runs this for
    assert account.found["approvals"] == APPROVALS
    assert account.holds, account
