"""Sign-in sessions in the database under a hash of their key: whoever reads the database gets into nobody's session.

Django's own store keeps the value of the cookie. This one serves synchronous views only, as the whole server is.
"""

import hashlib
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.base_session import AbstractBaseSession
from django.utils import timezone

_COLUMN = 40  # characters, of which Django's table has no more: 160 bits of the hash


def _hash_of(session_key: str | None) -> str:
    return hashlib.sha256((session_key or "").encode()).hexdigest()[:_COLUMN]


class SessionStore(DatabaseStore):
    def _get_session_from_db(self) -> AbstractBaseSession | None:
        rows = self.model.objects.filter(session_key=_hash_of(self.session_key), expire_date__gt=timezone.now())
        row: AbstractBaseSession | None = rows.first()
        if row is None:
            self._session_key = None
        return row

    def exists(self, session_key: str) -> bool:
        return bool(super().exists(_hash_of(session_key)))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        row = super().create_model_instance(data)
        row.session_key = _hash_of(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(_hash_of(key))
