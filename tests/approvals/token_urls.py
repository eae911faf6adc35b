"""A platform whose access is renewed, with the fake token URL of tests/fakes/token_service.py (fixture `tokens`)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.utils import timezone

from platforms import connecting
from platforms.access_token_model import AccessToken
from platforms.models import Connection
from tests.world import Side, change_platform, make_connection

FAKE = Path(__file__).parents[1] / "fakes" / "token_service.py"
SECRET = "the-clients-own-secret-0123456789"


@dataclass
class TokenService:
    """The fake of tests/fakes/token_service.py, seen from the test."""

    url: str
    log: Path

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def grant(refresh_token: str) -> str:
    return json.dumps({"client_id": "our-client", "client_secret": SECRET, "refresh_token": refresh_token})


def renewed(side: Side, tokens: TokenService, refresh_token: str, **refresh: str) -> Connection:
    """The side's connection, from now on with this refresh token instead of a token."""
    change_platform(side.platform, auth={"type": "bearer", "refresh": {"token_url": tokens.url, **refresh}})
    side.connection.delete()
    side.connection = make_connection(side.platform, grant(refresh_token))
    return side.connection


def give(side: Side, credential: str) -> None:
    """An admin puts another credential in place of the stored one."""
    connecting.reauthenticate(
        member=side.admin,
        connection_id=side.connection.pk,
        credential=credential,
        request_id=side.connection.pk,
        now=timezone.now(),
    )


def age(connection: Connection, **change: Any) -> None:
    AccessToken.objects.filter(connection=connection).update(**change)
