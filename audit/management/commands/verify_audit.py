"""`manage.py verify_audit`: does the audit log verify, up to which row, and which row is the first bad one?"""

import base64
from argparse import ArgumentParser
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from audit.models import AuditEvent, ChainHead, Checkpoint
from audit.signing import imported, is_signed, own_public_key
from audit.verify import verify_owner


class Command(BaseCommand):
    help = "Verify the audit log of every owner. Exits with 1 when a row is bad, and names the first one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--owner", type=UUID, metavar="UUID", help="verify this owner's chain only")
        parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoints saved by checkpoint_audit")
        parser.add_argument(
            "--trust", action="append", default=[], metavar="BASE64", help="public key of an earlier audit key"
        )

    def handle(self, *args: Any, owner: UUID | None, checkpoint: Path | None, trust: list[str], **options: Any) -> None:
        trusted_keys = frozenset(parse_public_key(text) for text in trust)
        saved = _saved(checkpoint, trusted_keys | {own_public_key()}) if checkpoint else []
        owners = [owner] if owner else sorted(_stored_owners() | {one.owner_id for one in saved})
        if checkpoint and owner and all(one.owner_id != owner for one in saved):
            raise CommandError(f"{checkpoint} holds no checkpoint of owner {owner}")
        broken = 0
        for owner_id in owners:
            verdict = verify_owner(owner_id=owner_id, saved=saved, trusted_keys=trusted_keys)
            self.stdout.write(str(verdict))
            broken += not verdict.verifies
        if broken:
            raise CommandError(f"{broken} of {len(owners)} chains do not verify")
        if not owners:
            self.stdout.write("the audit log is empty")


def _stored_owners() -> set[UUID]:
    """Every owner with a row anywhere: one of the three tables may have been emptied."""
    tables = (AuditEvent.objects, ChainHead.objects, Checkpoint.objects)
    return {owner for table in tables for owner in table.order_by().values_list("owner_id", flat=True).distinct()}


def parse_public_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise CommandError(f"--trust {text} is not a public key: give the public_key of a saved checkpoint")
    return key


def _saved(path: Path, trusted: frozenset[bytes]) -> list[Checkpoint]:
    try:
        checkpoints = imported(path.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from None
    for one in checkpoints:
        if not is_signed(one, trusted=trusted):
            raise CommandError(
                f"{path}: the checkpoint of owner {one.owner_id} at row {one.seq} is not signed by the audit key "
                "(after a change of key, name the old public key with --trust)"
            )
    if not checkpoints:
        raise CommandError(f"{path} holds no checkpoint")
    return checkpoints
