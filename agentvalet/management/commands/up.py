"""`python manage.py up`: everything on this machine, until Ctrl-C."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from agentvalet import launch


class Command(BaseCommand):
    help = (
        "Start AgentValet: its own PostgreSQL and Valkey (unless DATABASE_URL and REDIS_URL are set), "
        "the web server, the worker and the scheduler. Ctrl-C stops everything in order."
    )
    requires_system_checks = []  # they need the settings, which need what `up` makes first

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help="Port of the web server (default: 8080)")
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: 127.0.0.1)")
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--demo", action="store_true", help="Add a demo platform and a demo agent")
        choice.add_argument(
            "--only",
            choices=["web", "worker", "beat"],
            help="Start one process, on services and migrations that are there already (for containers)",
        )

    def handle(self, *args: object, **options: object) -> None:
        port, only = options["port"], options["only"]
        launch.up(
            host=str(options["host"]),
            port=port if isinstance(port, int) else None,
            demo=bool(options["demo"]),
            only=str(only) if only else None,
        )
