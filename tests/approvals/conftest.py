"""The fake token URL: one process for the tests of a module."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from pytest_django.fixtures import Settings

from tests.approvals.token_urls import FAKE, TokenService
from tests.world import CountingPlatform


@pytest.fixture(scope="module")
def running_tokens(
    tmp_path_factory: pytest.TempPathFactory, running_platform: CountingPlatform
) -> Iterator[TokenService]:
    log = tmp_path_factory.mktemp("tokens") / "requests.jsonl"
    command = [sys.executable, str(FAKE), str(log), running_platform.token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield TokenService(url=f"http://127.0.0.1:{int(process.stdout.readline())}/token", log=log)
        process.communicate()


@pytest.fixture
def tokens(running_tokens: TokenService, platform: CountingPlatform, settings: Settings) -> TokenService:
    running_tokens.log.write_text("")
    settings.PRIVATE_TARGETS = ["127.0.0.1"]
    return running_tokens
