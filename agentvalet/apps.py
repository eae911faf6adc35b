from django.apps import AppConfig


class AgentValetConfig(AppConfig):
    name = "agentvalet"

    def ready(self) -> None:
        """Make the Celery app the current one, so that whoever sends a task sends it to our broker."""
        from agentvalet.celery import app  # noqa: PLC0415 - it reads the settings, which this runs after

        app.set_default()
