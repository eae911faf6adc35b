"""One installation per test process, and the clients that run throughout."""

import re
import socket
from collections.abc import Iterator

import pytest

from tests.interop.machine import Machine
from tests.interop.owner import Owner
from tests.interop.remote import Remote
from tests.interop.site import CLIENT_PYTHON, CREW_PYTHON, LIFETIME, MCP_SERVER, REGISTER, Site
from tests.runtime.valet import Valet
from tests.world import CountingPlatform


@pytest.fixture(scope="session")
def site(running_platform: CountingPlatform) -> Iterator[Site]:
    for part in (CLIENT_PYTHON, CREW_PYTHON, MCP_SERVER, REGISTER):
        if not part.exists():
            pytest.fail(f"{part.name} is not installed: run `make clients`.")
    valet = Valet()
    with socket.socket() as nowhere:
        nowhere.bind(("127.0.0.1", 0))
        targets = [running_platform.url.removeprefix("http://"), f"127.0.0.1:{nowhere.getsockname()[1]}"]
        valet.env |= {
            "AGENTVALET_PRIVATE_TARGETS": ",".join(targets),
            "AGENTVALET_APPROVAL_LIFETIME": str(LIFETIME),
        }
        try:
            valet.start()
            site = Site(valet, running_platform, nowhere)
            site.provision()
            yield site
        finally:
            valet.remove()


@pytest.fixture(scope="session")
def owner(site: Site) -> Owner:
    return site.owner()


@pytest.fixture(scope="session")
def python_sync(site: Site) -> Iterator[Remote]:
    remote = site.python_client("sync", kind="sync")
    yield remote
    remote.close()


@pytest.fixture(scope="session")
def python_async(site: Site) -> Iterator[Remote]:
    remote = site.python_client("async", kind="async")
    yield remote
    remote.close()


@pytest.fixture(scope="session")
def mcp(site: Site) -> Iterator[Remote]:
    remote = site.mcp_server("mcp", AV_PERMISSIONS_POLL_MS="0")
    yield remote
    remote.close()


@pytest.fixture
def machine(site: Site, request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = Machine(site, re.sub(r"\W", "-", request.node.name))
    yield machine
    machine.stop()


@pytest.fixture(scope="session")
def clients(python_sync: Remote, python_async: Remote, mcp: Remote) -> dict[str, Remote]:
    return {"sync": python_sync, "async": python_async, "mcp": mcp}
