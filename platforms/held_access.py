"""The access token of a call that is about to begin: got before, so that a token URL that is away costs no call."""

from dataclasses import dataclass, field
from uuid import UUID

from platforms import client
from platforms.credentials import parse_auth
from platforms.models import Connection
from platforms.renewals import NoAccess
from platforms.stored_credentials import credential_of
from platforms.vault import VaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAccess:
    """What one call may be sent with, if its connection still has this version of the credential when it begins."""

    connection_id: UUID
    version: int
    token: str = field(repr=False)


def hold_access(*, owner_id: UUID, connection_id: UUID, timeout: float) -> HeldAccess | None:
    """An access token, if it takes one to call with this connection of the owner's. Not inside a transaction.

    None where nothing is renewed, and for whatever is no passing trouble of the token URL: the call finds it again once
    it has begun, and ends with it.

    Raises:
        NoAccess: no token could be had within `timeout` seconds, and later one may (`token_unavailable`).
    """
    rows = Connection.objects.select_related("platform").filter(pk=connection_id, platform__owner_id=owner_id)
    connection = rows.first()
    try:
        if connection is None or parse_auth(connection.platform.auth).refresh is None:
            return None
        client.release_connection()
        token = credential_of(connection, timeout=timeout)
    except NoAccess as error:
        if error.reason == "token_unavailable":
            raise
        return None
    except (VaultError, ValueError):  # ValueError: a platform that was edited in the database
        return None
    return HeldAccess(connection_id=connection.pk, version=connection.credential_version, token=token)
