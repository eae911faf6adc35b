"""`/api-docs`: the OpenAPI description as a page to read, without any script."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from agentvalet.openapi import Schema, description

_DEEPEST = 4  # levels of a body that are written out


@dataclass(frozen=True, slots=True)
class Row:
    """One field or parameter."""

    name: str
    type: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    text: str
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation."""

    id: str
    method: str
    path: str
    text: str
    identity: str
    parameters: list[Row]
    body: list[Row]
    answers: list[Answer]


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    document = description()
    context = {"info": document["info"], "entries": entries(), "error": list(_rows("Error", _error(document)))}
    return render(request, "api_docs.html", context)


def _error(document: Schema) -> Schema:
    schema: Schema = document["components"]["schemas"]["Error"]
    return schema


@cache
def entries() -> list[Entry]:
    document = description()
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found.append(_entry(path, method, operation, document["components"]["securitySchemes"]))
    return found


def _entry(path: str, method: str, operation: Schema, schemes: Schema) -> Entry:
    names = [name for option in operation.get("security", []) for name in option]
    return Entry(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        text=operation.get("description", ""),
        identity=" ".join(schemes[name]["description"] for name in names),
        parameters=[
            Row(
                parameter["name"],
                f"{_type(parameter['schema'])}, in the {parameter['in']}",
                parameter.get("required", False),
                parameter.get("description", ""),
            )
            for parameter in operation.get("parameters", [])
        ],
        body=list(_rows("", _json_schema(operation.get("requestBody", {})))),
        answers=[
            Answer(
                status,
                answer["description"],
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
        yield Row(path, _type(field), required, text.split("\n\n* ")[0])
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
