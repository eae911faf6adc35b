"""A key that AWS KMS holds: data keys go there to be wrapped and unwrapped, the key itself never leaves it.

Every wrap and unwrap is one call of the service; no data key is kept. The requests are signed by botocore, which finds
credentials, region and endpoint as every AWS program does (AWS_REGION, AWS_ENDPOINT_URL_KMS, roles …).
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from platforms.key_wrappers import SERVICE, KeyServiceError, VaultError

try:
    import botocore.exceptions
    import botocore.session
    from botocore.config import Config
except ImportError:  # the extra `kms`
    botocore = None

_ARN = r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]{1,32}):[0-9]{12}:"
_ID = r"[A-Za-z0-9-]{1,64}"  # a UUID, or mrk- and 32 digits
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,150}"
_KEY_NAME = re.compile(rf"(?:{_ARN})?{_ALIAS}|{_ARN.replace('?P<region>', '?:')}key/{_ID}|{_ID}")
_KEY_ARN = re.compile(rf"{_ARN}key/{_ID}")
# What a waiting call can afford; the whole is at most about seven seconds.
_CONNECT_TIMEOUT = 1.0
_READ_TIMEOUT = 2.0
_ATTEMPTS = 2


def is_key_name(text: str) -> bool:
    """Whether this can be the ARN, id or alias of a key."""
    return _KEY_NAME.fullmatch(text) is not None


class KmsKey:
    """A symmetric key of AWS KMS, by ARN, id or alias.

    What an alias stands for is asked once per process: rows keep the ARN, so that nothing changes under them when the
    alias is pointed elsewhere.
    """

    def __init__(self, name: str) -> None:
        """Raises VaultError where botocore is not installed."""
        if botocore is None:
            raise VaultError(
                "A key of AGENTVALET_VAULT_KEYS is in AWS KMS, but botocore is not installed:"
                " `.venv/bin/python -m pip install --require-hashes -r deploy/kms.lock`."
            )
        self._name = name
        self._arn = name if _KEY_ARN.fullmatch(name) else ""
        self._made: Any = None
        self._lock = threading.Lock()

    @property
    def key_id(self) -> str:
        if not self._arn:
            with _sentences():
                found = self._client.describe_key(KeyId=self._name)["KeyMetadata"]
            if found.get("KeySpec") != "SYMMETRIC_DEFAULT":
                raise KeyServiceError("The key of AWS KMS in AGENTVALET_VAULT_KEYS is not a symmetric one.")
            self._arn = str(found["Arn"])
        return SERVICE + self._arn

    def wrap(self, data_key: bytes, *, aad: bytes) -> bytes:
        arn = self.key_id.removeprefix(SERVICE)
        with _sentences():
            return bytes(
                self._client.encrypt(KeyId=arn, Plaintext=data_key, EncryptionContext=_context(aad))["CiphertextBlob"]
            )

    def unwrap(self, wrapped_key: bytes, *, aad: bytes) -> bytes:
        if not wrapped_key:
            raise VaultError("The sealed credential does not open: its row was changed.")
        arn = self.key_id.removeprefix(SERVICE)
        with _sentences():
            return bytes(
                self._client.decrypt(KeyId=arn, CiphertextBlob=wrapped_key, EncryptionContext=_context(aad))[
                    "Plaintext"
                ]
            )

    @property
    def _client(self) -> Any:
        with self._lock:  # sessions are for one thread, clients for all
            if self._made is None:
                region = re.match(_ARN, self._name)
                with _sentences():
                    self._made = botocore.session.get_session().create_client(
                        "kms",
                        region_name=region["region"] if region else os.environ.get("AWS_REGION"),
                        config=Config(
                            connect_timeout=_CONNECT_TIMEOUT,
                            read_timeout=_READ_TIMEOUT,
                            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                            max_pool_connections=max(settings.WEB_THREADS, settings.WORKER_THREADS),
                        ),
                    )
            return self._made


def _context(aad: bytes) -> dict[str, str]:
    """The AAD of KMS. AWS writes it to CloudTrail in clear: `aad` holds ids only."""
    return {"application": "agentvalet", "credential": aad.decode()}


@contextmanager
def _sentences() -> Iterator[None]:
    """Makes one sentence of what botocore raises: its own text could repeat what was sent."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "no code"))[:64]
        if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
            raise VaultError("The sealed credential does not open: AWS KMS finds that its row was changed.") from None
        raise KeyServiceError(f"AWS KMS does not serve the vault's key: {code}.") from None
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise KeyServiceError(f"AWS KMS cannot be asked: {type(error).__name__}.") from None
