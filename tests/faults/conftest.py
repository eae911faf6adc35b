"""The site that the tests of a file share, and the one agent and person who use it."""

from collections.abc import Iterator

import pytest

from tests.faults.people import Agent, Person
from tests.faults.site import DECIDERS, PASSWORD, Site
from tests.world import CountingPlatform, private_key


@pytest.fixture(scope="module")
def site(running_platform: CountingPlatform) -> Iterator[Site]:
    site = Site(running_platform)
    try:
        site.start()
        yield site
    finally:
        site.remove()


@pytest.fixture(scope="module")
def agent(site: Site) -> Iterator[Agent]:
    agent = Agent(site.port, agent_id=site.agents[0], owner_id=site.owner_id, key=private_key("faults"))
    yield agent
    agent.leave()


@pytest.fixture(scope="module")
def person(site: Site) -> Iterator[Person]:
    person = Person.signed_in(site.port, email=DECIDERS[0], password=PASSWORD)
    yield person
    person.leave()
