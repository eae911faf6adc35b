"""The list of keys that AGENTVALET_VAULT_KEYS is: those in the settings, and those of a key service."""

import base64
import binascii
import re
from collections.abc import Sequence

from platforms.key_wrappers import SERVICE, KeyServiceError, KeyWrapper, SettingsKey, VaultError

KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


class KeyRing:
    """The keys of AGENTVALET_VAULT_KEYS: "id:base64" or "kms:KEY", comma separated; the first one wraps."""

    def __init__(self, text: str) -> None:
        """Nothing is asked of a key service here. Raises VaultError with a sentence about what is wrong in `text`."""
        if not text.strip():
            raise VaultError("AGENTVALET_VAULT_KEYS is not set: `python manage.py make_keys` prints a key.")
        self._in_settings: dict[str, KeyWrapper] = {}
        self._in_service: dict[str, KeyWrapper] = {}
        self._all: list[KeyWrapper] = []
        for number, item in enumerate(text.split(","), start=1):
            name, key = _parsed(item.strip(), number)
            group = self._in_service if item.strip().startswith(SERVICE) else self._in_settings
            if name in group:
                raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS has the id of an earlier one.")
            group[name] = key
            self._all.append(key)

    @property
    def current(self) -> KeyWrapper:
        return self._all[0]

    @property
    def all(self) -> Sequence[KeyWrapper]:
        return self._all

    def named(self, key_id: str) -> KeyWrapper:
        """The key with this id.

        Raises:
            KeyServiceError: it may be one in a key service, which cannot say which key an alias stands for.
            VaultError: the list lacks it.
        """
        if key := self._in_settings.get(key_id):
            return key
        away: KeyServiceError | None = None
        for key in self._in_service.values() if key_id.startswith(SERVICE) else ():
            try:
                if key.key_id == key_id:
                    return key
            except KeyServiceError as error:
                away = error
        raise away or VaultError(f"AGENTVALET_VAULT_KEYS lacks the key {key_id!r} that sealed the credential.")


def _parsed(item: str, number: int) -> tuple[str, KeyWrapper]:
    if item.startswith(SERVICE):
        from platforms.aws_kms import KmsKey, is_key_name  # noqa: PLC0415 - botocore takes half a second to import

        name = item.removeprefix(SERVICE)
        if not is_key_name(name):
            raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS is not kms: and the ARN, id or alias of a key.")
        return name, KmsKey(name)
    key_id, _, encoded = item.partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # The number and not the text: a key written without its id would end up in a log.
    if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
        raise VaultError(f"Key {number} of AGENTVALET_VAULT_KEYS is not id:base64 of {KEY_BYTES} bytes.")
    return key_id, SettingsKey(key_id, key)
