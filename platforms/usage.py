"""What a call tells about its connection: that it was used, and whether the platform still takes the credential."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from platforms.access_tokens import forget
from platforms.models import Connection, ConnectionStatus

_JUST_RENEWED = timedelta(minutes=1)
_USED_EVERY = timedelta(minutes=1)  # "last used" is for people: no write per call


def note_use(*, connection_id: UUID, upstream_status: int, now: datetime) -> None:
    """Record the use. A 401 means the credential is no good any more; a 2xx that it is.

    An access token that was good for a while and is not taken any more may have been ended early: it is dropped, and
    the next call gets another one.
    """
    connection = Connection.objects.filter(pk=connection_id)
    if upstream_status == 401 and forget(connection_id=connection_id, before=now - _JUST_RENEWED):
        connection.update(last_used_at=now)
    elif upstream_status == 401:
        connection.update(last_used_at=now, status=ConnectionStatus.REAUTH_NEEDED)
    elif 200 <= upstream_status < 300:
        connection.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=now - _USED_EVERY) | ~Q(status=ConnectionStatus.ACTIVE)
        ).update(last_used_at=now, status=ConnectionStatus.ACTIVE)
