"""`manage.py check_audit_bundle`: does a signed bundle from /audit prove what it says? Needs no database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.bundle import BadBundle, check_bundle
from audit.management.commands.verify_audit import parse_public_key
from audit.signing import own_public_key


class Command(BaseCommand):
    help = "Check a signed bundle of audit rows. Exits with 1, and says what is wrong, when it does not hold up."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--trust", action="append", default=[], metavar="BASE64", help="public key of the audit key that signed it"
        )

    def handle(self, *args: Any, file: Path, trust: list[str], **options: Any) -> None:
        trusted = frozenset(parse_public_key(text) for text in trust) or frozenset({own_public_key()})
        try:
            with Path(file).open("rb") as lines:
                content = check_bundle(lines, trusted=trusted)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
        except BadBundle as error:
            raise CommandError(f"{file}: {error}") from None
        self.stdout.write(f"The bundle holds up: {content}")
