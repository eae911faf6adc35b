"""Sign-in sessions in the database under a hash of their key: whoever reads the database gets into nobody's session,
and whoever writes it makes nobody's session their own.

Django's own store keeps the value of the cookie. This one serves synchronous views only, as the whole server is.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone

from agents.people_models import Session

_COLUMN = 40  # characters, of which Django's table has no more: 160 bits of the hash
_SEEN_EVERY = timedelta(minutes=1)  # "last seen" is for people: no write per request


def _hash_of(session_key: str | None) -> str:
    return hashlib.sha256((session_key or "").encode()).hexdigest()[:_COLUMN]


class SessionStore(DatabaseStore):
    row: Session | None = None  # as it was read for this request

    @classmethod
    def get_model_class(cls) -> type[AbstractBaseSession]:
        return Session

    @property
    def stored_key(self) -> str:
        """What the row of this session is found by; worth nothing as a cookie."""
        return _hash_of(self.session_key)

    @property
    def key_salt(self) -> str:
        """What a session holds is signed for its own key: put into another row, it is nobody's."""
        return f"{super().key_salt}.{self.stored_key}"

    def note_seen(self, *, device: str, address: str | None, now: datetime) -> None:
        """Keep who comes with this session, where that is news. It touches nothing of what the session holds."""
        row = self.row
        if row is None or row.session_key != self.stored_key:
            return
        if (row.device, row.address) != (device, address) or row.seen_at is None or row.seen_at <= now - _SEEN_EVERY:
            Session.objects.filter(pk=row.pk).update(device=device, address=address, seen_at=now)

    def _get_session_from_db(self) -> AbstractBaseSession | None:
        rows = Session.objects.filter(session_key=_hash_of(self.session_key), expire_date__gt=timezone.now())
        self.row = rows.first()
        if self.row is None:
            self._session_key = None
        return self.row

    def exists(self, session_key: str) -> bool:
        return bool(super().exists(_hash_of(session_key)))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        assert isinstance(row, Session)  # noqa: S101 - for the type checker
        row.session_key = _hash_of(row.session_key)
        row.user_id = int(data["_auth_user_id"]) if "_auth_user_id" in data else None
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(_hash_of(key))
