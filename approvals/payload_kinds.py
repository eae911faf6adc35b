"""What a request body is, and where the secrets are in one of that kind."""

from collections.abc import Iterator
from enum import StrEnum

from agents.masking import Secret, in_form
from approvals.graphql_secrets import in_graphql
from approvals.json_secrets import in_json


class Kind(StrEnum):
    JSON = "json"
    FORM = "form"
    GRAPHQL = "graphql"  # the query alone
    TEXT = "text"


def kind_of(content_type: str) -> Kind:
    name = content_type.partition(";")[0].strip().lower()
    return {"application/json": Kind.JSON, "application/x-www-form-urlencoded": Kind.FORM}.get(name, Kind.TEXT)


def secrets_in(text: str, kind: Kind) -> Iterator[Secret]:
    """In their order, none within another. Any other text has no names, so nothing in it is one."""
    match kind:
        case Kind.JSON:
            return in_json(text)
        case Kind.FORM:
            return in_form(text)
        case Kind.GRAPHQL:
            return in_graphql(text)
    return iter(())
