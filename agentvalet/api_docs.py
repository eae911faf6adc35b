"""`/api-docs`: the OpenAPI description as a page to read, without any script."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from agentvalet.openapi import Schema, description

_DEEPEST = 4  # levels of a body that are written out

# In the order in which an agent meets them; the operations of each by how their paths begin.
_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Calling a platform",
        "The answer is the platform's, or a 202 with an approval to poll until a person has decided and it was made.",
        ("/v1/actions", "/v1/approvals/", "/v1/agents/me/pending-actions", "/v1/audit/", "/v1/observe/actions"),
    ),
    (
        "What the agent may do",
        "Read the grants, ask about one, ask for another, hand a part of them to a child.",
        ("/v1/agent/permissions", "/v1/authzen/access", "/v1/access-request", "/v1/agents/children"),
    ),
    (
        "Getting an identity, and giving it back",
        "A key is bound with a code from the owner, or an agent registers itself and waits to be let in.",
        ("/v1/invites/bind", "/v1/agents/bind", "/v1/bind-secret", "/v1/register", "/v1/revoke-request"),
    ),
    ("Telling the owner", "", ("/v1/agents/self/diagnostics",)),
    (
        "The command line",
        "What `npx @agentvalet/register` uses for its owner's account.",
        ("/functions/v1/", "/v1/cli/"),
    ),
    ("This description", "", ("/v1/openapi.json",)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One field or parameter."""

    name: str
    type: str
    required: bool
    text: SafeString


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    text: SafeString
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation."""

    id: str
    method: str
    path: str
    text: SafeString
    identity: str
    parameters: list[Row]
    body: list[Row]
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Section:
    """Operations that belong together."""

    title: str
    text: SafeString
    entries: list[Entry]


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    document = description()
    context = {"info": document["info"], "sections": sections(), "error": list(_rows("Error", _error(document)))}
    return render(request, "api_docs.html", context)


def _error(document: Schema) -> Schema:
    schema: Schema = document["components"]["schemas"]["Error"]
    return schema


@cache
def sections() -> list[Section]:
    """All operations, each under the first section that its path is named in.

    Raises:
        ValueError: an operation is named in none.
    """
    document = description()
    schemes = document["components"]["securitySchemes"]
    left = dict(document["paths"])
    found = []
    for title, text, beginnings in _SECTIONS:
        entries = []
        for beginning in beginnings:
            for path in [path for path in left if path.startswith(beginning)]:
                entries += [_entry(path, method, operation, schemes) for method, operation in left.pop(path).items()]
        found.append(Section(title, _prose(text), entries))
    if left:
        raise ValueError(f"No section of /api-docs has {', '.join(left)}.")
    return found


def _prose(text: str) -> SafeString:
    """Paragraphs, with what stands between backticks as code."""
    return format_html_join("\n", "<p>{}</p>", ((_marked(paragraph),) for paragraph in text.split("\n\n") if paragraph))


def _marked(paragraph: str) -> SafeString:
    pieces = paragraph.split("`")
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", piece) if n % 2 else piece,) for n, piece in enumerate(pieces))
    )


def _entry(path: str, method: str, operation: Schema, schemes: Schema) -> Entry:
    names = [name for option in operation.get("security", []) for name in option]
    return Entry(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        text=_prose(operation.get("description", "")),
        identity=" ".join(schemes[name]["description"] for name in names),
        parameters=[
            Row(
                parameter["name"],
                f"{_type(parameter['schema'])}, in the {parameter['in']}",
                parameter.get("required", False),
                _prose(parameter.get("description", "")),
            )
            for parameter in operation.get("parameters", [])
        ],
        body=list(_rows("", _json_schema(operation.get("requestBody", {})))),
        answers=[
            Answer(
                status,
                _prose(answer["description"]),
                list(_rows("", _json_schema(answer))) if status.startswith("2") else [],
            )
            for status, answer in operation["responses"].items()
        ],
    )


def _json_schema(holder: Schema) -> Schema:
    schema: Schema = holder.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _resolved(schema: Schema) -> Schema:
    """The schema behind references and the allOf that carries a description beside one."""
    while True:
        if "$ref" in schema:
            schema = description()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif "allOf" in schema:
            schema = _resolved(schema["allOf"][0]) | {key: schema[key] for key in schema if key != "allOf"}
        else:
            return schema


def _rows(prefix: str, schema: Schema, depth: int = 0) -> Iterator[Row]:
    schema = _resolved(schema)
    if schema.get("type") == "array":
        yield from _rows(f"{prefix}[]", schema["items"], depth)
        return
    for name, property_ in schema.get("properties", {}).items():
        field = _resolved(property_)
        path = f"{prefix}.{name}" if prefix and prefix != "Error" else name
        required = name in schema.get("required", [])
        text = property_.get("description", "") or field.get("description", "")
        yield Row(path, _type(field), required, _prose(text.split("\n\n* ")[0]))
        if depth < _DEEPEST:
            yield from _rows(path, field, depth + 1)


def _type(schema: Schema) -> str:
    """A few words for a schema: type, format, limits, choices."""
    schema = _resolved(schema)
    options: list[Schema] = schema.get("oneOf") or schema.get("anyOf") or []
    if options:
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    kind: Any = schema.get("type", "any JSON")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if words == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if "format" in schema:
        words += f" ({schema['format']})"
    limits = {"minLength": "≥ {} characters", "maxLength": "≤ {} characters", "minimum": "≥ {}", "maximum": "≤ {}"}
    limits |= {"minItems": "≥ {} items", "maxItems": "≤ {} items"}
    return ", ".join([words, *(text.format(schema[name]) for name, text in limits.items() if name in schema)])
