"""The access token of a call that is about to begin: got before, so that a token URL that is away costs no call."""

import logging
from dataclasses import dataclass, field
from uuid import UUID

from django.db import DatabaseError

from platforms import client
from platforms.credentials import parse_auth
from platforms.models import Connection
from platforms.renewals import NoAccess
from platforms.stored_credentials import credential_of

logger = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds for somebody else's exchange: most take less, and one that hangs holds one thread, not all


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAccess:
    """What one call may be sent with, if its connection still has this version of the credential when it begins."""

    connection_id: UUID
    version: int
    token: str = field(repr=False)


def renewed_connection(*, owner_id: UUID, connection_id: UUID) -> Connection | None:
    """The owner's connection, if its platform renews credentials. None also where that cannot be read: the call's own
    checks say what is wrong with it.
    """
    rows = Connection.objects.select_related("platform").filter(pk=connection_id, platform__owner_id=owner_id)
    connection = rows.first()
    try:
        return connection if connection is not None and parse_auth(connection.platform.auth).refresh else None
    except Exception:
        logger.exception("the platform of connection %s cannot be read", connection_id)
        return None


def hold_access(connection: Connection, *, timeout: float) -> HeldAccess | None:
    """An access token for a call with this connection. Not inside a transaction. While somebody else renews it, its
    caller is not kept: what can wait comes again.

    None for whatever is no passing trouble: the call finds it again once it has begun, and ends with it.

    Raises:
        NoAccess: no token could be had within `timeout` seconds, and later one may (`token_unavailable`).
    """
    client.release_connection()
    try:
        token = credential_of(connection, timeout=timeout, patience=PATIENCE)
    except NoAccess as error:
        if error.reason == "token_unavailable":
            raise
        return None
    except DatabaseError:
        raise
    except Exception:
        logger.exception("no access token for connection %s", connection.pk)
        return None
    return HeldAccess(connection_id=connection.pk, version=connection.credential_version, token=token)
