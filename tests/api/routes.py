"""Every route of the agent API, read from agentvalet/urls.py: a new one is in the tests without being named."""

import re
from typing import NamedTuple

from django.urls import URLPattern, get_resolver

API = ("v1/", "functions/")
_EXAMPLES = {"uuid": "00000000-0000-4000-8000-000000000000", "str": "unknown-token"}


class Route(NamedTuple):
    template: str  # as OpenAPI writes it: /v1/approvals/{approval_id}
    path: str  # with an example in it
    methods: tuple[str, ...]


def api_routes() -> list[Route]:
    routes = []
    for pattern in get_resolver("agentvalet.urls").url_patterns:
        route = "/" + str(pattern.pattern)
        if not isinstance(pattern, URLPattern) or not route[1:].startswith(API):
            continue
        view = getattr(pattern.callback, "cls")  # noqa: B009 - every one is a class of DRF, unknown to the type checker
        methods = tuple(name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name))
        routes.append(
            Route(
                template=re.sub(r"<\w+:(\w+)>", r"{\1}", route),
                path=re.sub(r"<(\w+):\w+>", lambda found: _EXAMPLES[found[1]], route),
                methods=methods,
            )
        )
    return routes
