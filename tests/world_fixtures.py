"""The counted platform in its own process, and the two sides of the world."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from tests.world import CountingPlatform, Side, make_side, new_token

_FAKE = Path(__file__).parent / "fakes" / "counting_platform.py"


@pytest.fixture(scope="session")
def running_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingPlatform]:
    log = tmp_path_factory.mktemp("platform") / "requests.jsonl"
    log.touch()
    token = new_token()
    with subprocess.Popen(
        [sys.executable, str(_FAKE), str(log), token], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield CountingPlatform(url=f"http://127.0.0.1:{int(process.stdout.readline())}", token=token, log=log)
        process.communicate()  # closes its standard input, and it ends


@pytest.fixture
def platform(running_platform: CountingPlatform, settings: Settings) -> CountingPlatform:
    """The platform with an empty log; the operator lists its address."""
    running_platform.log.write_text("")
    settings.PRIVATE_TARGETS = [running_platform.url.removeprefix("http://")]
    return running_platform


@pytest.fixture
def acme(db: None, platform: CountingPlatform) -> Side:
    return make_side("Acme", base_url=platform.url, token=platform.token)


@pytest.fixture
def stranger(db: None, platform: CountingPlatform) -> Side:
    """Another owner, who must never see, touch or learn anything of the first."""
    return make_side("Stranger", base_url=platform.url, token=platform.token)
