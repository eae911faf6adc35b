"""`python manage.py make_keys`: a fresh set of keys for production. Works before anything is configured."""

from django.core.management.base import BaseCommand

from agentvalet import keys


class Command(BaseCommand):
    help = "Print a fresh set of keys as NAME=value lines, for a secret store or an env file."
    requires_system_checks = []

    def handle(self, *args: object, **options: object) -> None:
        for name, value in keys.fresh().items():
            self.stdout.write(f"{name}={value}")
