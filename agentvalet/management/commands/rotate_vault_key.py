"""`manage.py rotate_vault_key`: every stored credential under the first key of AGENTVALET_VAULT_KEYS."""

from argparse import ArgumentParser
from collections import Counter
from typing import Any
from uuid import uuid4

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agentvalet.own_database import running_database
from platforms.stored_credentials import Outcome, rotate
from platforms.vault import KeyServiceError, VaultError, current_key_id


class Command(BaseCommand):
    help = (
        "Put every stored credential under the first key of AGENTVALET_VAULT_KEYS, while everything runs. Stopped, it "
        "goes on where it was when run again. Afterwards the other keys can be taken out (docs/operations.md)."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--forget-unreadable",
            action="store_true",
            help="Empty, for good, every credential that none of the keys opens: its connection needs a new one",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[Outcome] = Counter()
        with running_database():
            try:
                key_id = current_key_id()
                for one in rotate(
                    forget_unreadable=options["forget_unreadable"], request_id=uuid4(), now=timezone.now()
                ):
                    counts[one.outcome] += 1
                    if one.outcome != Outcome.CURRENT:
                        was = f" (key {one.key_id})" if one.key_id else ""
                        self.stdout.write(f"{one.platform} / {one.label}, {one.connection_id}{was}: {one.outcome}")
            except KeyServiceError as error:
                raise CommandError(
                    f"{error} {counts[Outcome.REWRAPPED]} re-wrapped so far, nothing was given up for this:"
                    " run it again when the key service answers."
                ) from error
            except VaultError as error:
                raise CommandError(str(error)) from error
        self.stdout.write(
            f"Key {key_id}: {counts[Outcome.REWRAPPED]} re-wrapped, {counts[Outcome.CURRENT]} there already, "
            f"{counts[Outcome.FORGOTTEN]} given up, {counts[Outcome.EMPTY]} without a credential."
        )
        if unreadable := counts[Outcome.UNREADABLE]:
            raise CommandError(
                f"{unreadable} cannot be opened: put the missing key back into AGENTVALET_VAULT_KEYS and run this"
                " again, or give them up with --forget-unreadable."
            )
        self.stdout.write("No credential needs another key of AGENTVALET_VAULT_KEYS.")
