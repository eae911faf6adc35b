"""Child agents through the Python client: what they may, what they may not, and when they end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.interop.owner import Owner
from tests.interop.remote import Line, Remote
from tests.interop.site import Site

pytestmark = [pytest.mark.interop, pytest.mark.services, pytest.mark.xdist_group("interop")]

READ = {"platform": "acme-chat", "endpoint": "/api/messages", "method": "GET", "scope": "chat:read"}
WRITE = READ | {"method": "POST", "scope": "chat:write"}


@pytest.fixture(scope="module", params=["sync", "async"])
def parent(site: Site, request: pytest.FixtureRequest) -> Iterator[Remote]:
    remote = site.python_client("parent", kind=request.param)
    yield remote
    remote.close()


def child_of(parent: Remote, *scopes: str) -> dict[str, Any]:
    made = parent.order(
        "issue_child",
        **{
            "with": {"grants": [{"platform": "acme-chat", "scopes": list(scopes)}], "ttl_seconds": 60, "name": "helper"}
        },
    ).outcome
    assert "returned" in made, made
    child: dict[str, Any] = made["returned"]
    return child


def as_child(parent: Remote, child: dict[str, Any], what: str, **arguments: Any) -> Line:
    """What the child's own client got, built with from_bearer(token, proxy_url=…)."""
    return parent.order(what, bearer=child["bearer_token"], **{"with": arguments}).outcome


def test_a_child_may_what_it_was_given_and_nothing_else(site: Site, parent: Remote) -> None:
    child = child_of(parent, "chat:read", "chat:delete")
    assert child["granted"] == [{"platform": "acme-chat", "scopes": ["chat:read"]}]
    assert as_child(parent, child, "call", **READ)["returned"]["data"] == {"id": 7, "ok": True}
    refused = as_child(parent, child, "call", **WRITE)
    assert (refused["raised"], refused["status"]) == ("AccessDeniedError", 403)
    listed = as_child(parent, child, "list_platforms")["returned"]["data"]["platforms"]
    assert [(entry["platformId"], entry["scopes"]) for entry in listed] == [("acme-chat", ["chat:read"])]
    assert as_child(parent, child, "evaluate", platform="acme-chat", scope="chat:read")["returned"]["decision"] is True


def test_a_childs_call_waits_where_its_parents_would(parent: Remote, owner: Owner) -> None:
    child = child_of(parent, "chat:write")
    words = f"(by {child['child_agent_id']})"
    order = parent.order("call", bearer=child["bearer_token"], **{"with": WRITE | {"data": {"text": words}}})
    owner.approve(words)
    assert order.outcome["returned"]["data"] == {"id": 7, "ok": True}


def test_a_child_cannot_mint(site: Site, parent: Remote) -> None:
    child = child_of(parent, "chat:read")
    wish = {"grants": [{"platform": "acme-chat", "scopes": ["chat:read"]}]}
    reply = site.request("POST", "/v1/agents/children", body=wish, Authorization=f"Bearer {child['bearer_token']}")
    assert (reply.status, reply.json["reason"]) == (403, "delegation_depth_exceeded")


def test_nothing_left_after_attenuation_is_an_error(parent: Remote) -> None:
    wish = {"grants": [{"platform": "acme-chat", "scopes": ["chat:delete"]}]}
    refused = parent.order("issue_child", **{"with": wish}).outcome
    assert (refused["raised"], refused["status"]) == ("ProxyError", 403)
    assert "no_scopes_after_attenuation" in refused["body"]


@pytest.mark.parametrize("whose", [lambda child, _: child["child_agent_id"], lambda _, site: site.ids["parent"]])
def test_a_child_ends_with_its_own_suspension_and_with_its_parents(
    site: Site, owner: Owner, parent: Remote, whose: Callable[[dict[str, Any], Site], str]
) -> None:
    child = child_of(parent, "chat:read")
    assert "returned" in as_child(parent, child, "call", **READ)
    agent = whose(child, site)
    owner.suspend(agent)
    try:
        refused = as_child(parent, child, "call", **READ)
        assert (refused["raised"], refused["status"]) == ("AccessDeniedError", 403)
        assert "agent_suspended" in refused["body"]
    finally:
        owner.reactivate(agent)
