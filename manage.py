#!/usr/bin/env python3
"""Django's command line for AgentValet. A wrong configuration is told in one sentence, without a traceback."""

import os
import sys
from importlib import import_module

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from agentvalet.embedded import ServiceError

# These two come before the settings: `make_keys` prints what the settings ask for, and `up` makes the key files that
# they read. `up` also stays alive as the parent of everything, and is lighter without the apps.
BEFORE_SETTINGS = {"make_keys", "up"}

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agentvalet.settings")
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        if name in BEFORE_SETTINGS:
            import_module(f"agentvalet.management.commands.{name}").Command().run_from_argv(sys.argv)
        else:
            execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, ServiceError) as error:
        sys.exit(f"agentvalet: {error}")
