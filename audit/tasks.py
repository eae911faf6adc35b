"""What beat runs for the audit log."""

import logging

from celery import shared_task
from django.utils import timezone

from audit import checks
from audit.checkpoints import checkpoint_moved_chains

logger = logging.getLogger(__name__)


@shared_task(name="audit.checkpoint")
def checkpoint() -> None:
    """Sign where every chain that moved stands now. Run twice or not at all, it does no harm."""
    checkpoint_moved_chains(now=timezone.now())


@shared_task(name="audit.check")
def check() -> None:
    """Check the whole chains that somebody waits for, or that nobody has looked at for a day."""
    while checks.check_one_whole_chain(now=timezone.now()):
        pass


def check_soon() -> None:
    """A hint to the sweeper; without the broker the check waits for beat."""
    try:
        check.delay()
    except check.OperationalError:
        logger.warning("the broker is away: the audit chain is checked within half a minute")
