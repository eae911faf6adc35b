"""Where a stored credential may be sent, sealed: a row that somebody else has edited sends it nowhere.

The seal is an HMAC under AGENTVALET_SEAL_KEY, which is not in the database. This server makes it when it is given a
credential, or another address for one whose seal holds.
"""

import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings

from platforms.models import Connection, Platform
from platforms.vault import VaultError


class DestinationChanged(VaultError):
    """The connection, or its platform's address or authentication, was changed behind this server's back."""

    def __init__(self) -> None:
        super().__init__(
            "The platform's address, its authentication or its connection is not what this server has stored:"
            " check the platform, then give the credential again."
        )


def seal_of(*, connection_id: UUID, platform_id: int, base_url: str, auth: Mapping[str, Any]) -> str:
    """The seal over one connection's way out, 64 hex digits."""
    statement = json.dumps([str(connection_id), platform_id, base_url, dict(auth)], sort_keys=True)
    key = b64decode(settings.SEAL_KEY)
    return hmac.digest(key, b"agentvalet.destination.v1\0" + statement.encode(), "sha256").hex()


def holds(destination: str, *, connection_id: UUID, platform_id: int, base_url: str, auth: Mapping[str, Any]) -> bool:
    """Whether the credential may be sent there."""
    expected = seal_of(connection_id=connection_id, platform_id=platform_id, base_url=base_url, auth=auth)
    return hmac.compare_digest(destination.encode(), expected.encode())


def bind(connection: Connection, platform: Platform) -> bool:
    """Seal the way out as it is now; whether that was a change. Saving is the caller's, who holds the lock.

    Only for a credential that has just been given for this platform.
    """
    before, connection.destination = connection.destination, _current_seal(connection, platform)
    return before != connection.destination


def check(connection: Connection) -> None:
    """Raises DestinationChanged."""
    platform = connection.platform
    if not holds(
        connection.destination,
        connection_id=connection.pk,
        platform_id=platform.pk,
        base_url=platform.base_url,
        auth=platform.auth,
    ):
        raise DestinationChanged


def follow(platform: Platform, *, base_url: str, auth: Mapping[str, Any]) -> None:
    """The platform, saved by now, was at `base_url` with `auth` before: seal its connections anew.

    One whose seal did not hold there stays unusable until its credential is given again. Locks the connections, after
    the platform.
    """
    for connection in Connection.objects.select_for_update(no_key=True).filter(platform=platform).order_by("pk"):
        if holds(
            connection.destination,
            connection_id=connection.pk,
            platform_id=platform.pk,
            base_url=base_url,
            auth=auth,
        ):
            connection.destination = _current_seal(connection, platform)
            connection.save(update_fields=["destination"])


def _current_seal(connection: Connection, platform: Platform) -> str:
    return seal_of(connection_id=connection.pk, platform_id=platform.pk, base_url=platform.base_url, auth=platform.auth)
