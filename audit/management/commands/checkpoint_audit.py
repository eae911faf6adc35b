"""`manage.py checkpoint_audit`: sign where every chain stands, print the checkpoints for keeping elsewhere."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.checkpoints import checkpoint_moved_chains, latest_checkpoint
from audit.models import ChainHead
from audit.signing import exported


class Command(BaseCommand):
    help = "Print the latest signed checkpoint of every owner, one line of JSON each, for verify_audit --checkpoint."

    def handle(self, *args: Any, **options: Any) -> None:
        broken = [verdict for verdict in checkpoint_moved_chains(now=timezone.now()) if not verdict.verifies]
        if broken:
            raise CommandError("; ".join(str(verdict) for verdict in broken))
        for owner_id in ChainHead.objects.order_by("owner_id").values_list("owner_id", flat=True):
            if checkpoint := latest_checkpoint(owner_id=owner_id):
                self.stdout.write(exported(checkpoint))
