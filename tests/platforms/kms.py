"""A key service of the tests: AWS KMS, played by moto in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import botocore.session
import pytest

_FAKE = Path(__file__).parents[1] / "fakes" / "key_service.py"


class KeyService:
    """What an operator can do: make keys, point aliases, and cut the power."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(_FAKE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    @property
    def environment(self) -> dict[str, str]:
        """What tells every AWS program where it is, and who asks."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.url,
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret-of-anybody",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def admin(self) -> Any:
        return botocore.session.get_session().create_client("kms", region_name="eu-central-1")

    def new_key(self, **options: str) -> str:
        """The ARN of a fresh key."""
        return str(self.admin.create_key(**options)["KeyMetadata"]["Arn"])

    def alias(self, name: str, arn: str) -> str:
        self.admin.create_alias(AliasName=name, TargetKeyId=arn)
        return name

    def kill(self) -> None:
        """It is away; its keys are lost with it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def key_service() -> Iterator[KeyService]:
    service = KeyService()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in service.environment.items():
            patch.setenv(name, value)
        try:
            yield service
        finally:
            service.kill()
