"""One call through any of the clients, and what came of it, said in one way."""

from typing import Any

from tests.interop.remote import Line, Pending, Remote

KINDS = ["sync", "async", "mcp"]
MESSAGE = {"id": 7, "ok": True}  # what the platform says to everything that means nothing special


def call(remote: Remote, kind: str, **arguments: Any) -> Pending:
    """POST /v1/actions, as this kind of client does it."""
    if kind != "mcp":
        return remote.order("call", **{"with": arguments})
    if "data" in arguments:
        arguments["body"] = arguments.pop("data")
    return remote.order("call", name="use_platform", arguments=arguments)


def value(outcome: Line) -> Any:
    """What the caller of the client has in hand: the envelope of a call that went well."""
    returned = outcome["returned"]
    if "content" not in returned:
        return returned
    assert not returned.get("isError"), returned
    return returned["structuredContent"]


def error(outcome: Line) -> str:
    """The words of a call that did not go well."""
    if "raised" in outcome:
        return f"{outcome['raised']}: {outcome['text']}"
    returned = outcome["returned"]
    assert returned["isError"], returned
    return str(returned["content"][0]["text"])
