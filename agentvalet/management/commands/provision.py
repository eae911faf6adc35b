"""`manage.py provision FILE.yaml`: owner, members, platforms, connections, agents and grants out of one file."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agentvalet.own_database import running_database
from agentvalet.provision_file import ProvisionError
from agentvalet.provisioning import provision
from platforms.addresses import parse_private_targets


class Command(BaseCommand):
    help = "Makes what FILE.yaml says so, as often as you like, and prints the ids as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        try:
            parse_private_targets(settings.PRIVATE_TARGETS)
        except ValueError as error:
            raise CommandError(str(error)) from error
        try:
            with running_database():
                made = provision(text, base=file.parent)
        except ProvisionError as error:
            raise CommandError("\n".join(f"{file}: {problem}" for problem in error.problems)) from error
        self.stdout.write(json.dumps(made, indent=2))
