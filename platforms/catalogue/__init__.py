"""The platforms that are known from the start: one file each, `docs/catalogue.md` says how to add one.

What a platform of an owner's is gets copied from here when it is connected. A new version of a file changes nothing
that an owner has granted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from audit.events import JSON
from platforms.credentials import parse_auth
from platforms.definitions import (
    Definition,
    ScopeDefinition,
    body_kind_of,
    parse_rules,
    parse_test_call,
    refused_target,
)
from platforms.endpoints import parse_base_url
from platforms.models import CallStyle

FOLDER = Path(__file__).parent
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*(:[0-9]{1,5})?")


class FieldRefused(ValueError):
    """What was filled in is no part of an address. `field` is its name, the text one sentence."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A part of the base URL that is the owner's own."""

    name: str
    kind: str  # "label" or "host"
    label: str
    example: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One platform of the catalogue."""

    id: str
    name: str
    category: str
    source: str
    base_url: str
    fields: tuple[Field, ...]
    auth: Mapping[str, JSON]
    call_style: str
    body_kind: str
    honours_idempotency_key: bool
    credential: str
    note: str
    test_call: Mapping[str, JSON]
    scopes: tuple[ScopeDefinition, ...]

    def definition(self, *, slug: str, fields: Mapping[str, str]) -> Definition:
        """The platform with this id, at the address that `fields` make. Raises FieldRefused."""
        values = {}
        for field in self.fields:
            value = fields.get(field.name, "").strip().lower()
            if not (_HOST if field.kind == "host" else _LABEL).fullmatch(value):
                raise FieldRefused(field.name, f"{field.label}: write only that, in a-z, 0-9, '-' and '.'.")
            values[field.name] = value
        last = self.fields[0].name if self.fields else ""
        try:
            base_url = parse_base_url(self.base_url.format_map(values))
        except ValueError as error:
            raise FieldRefused(last, str(error)) from error
        if sentence := refused_target(base_url):
            raise FieldRefused(last, sentence)
        return Definition(
            slug=slug,
            name=self.name,
            base_url=base_url,
            auth=self.auth,
            call_style=self.call_style,
            body_kind=self.body_kind,
            honours_idempotency_key=self.honours_idempotency_key,
            category=self.category,
            test_call=self.test_call,
            scopes=self.scopes,
        )


@cache
def entries() -> dict[str, Entry]:
    """All platforms by id, sorted by category and name."""
    found = [_read(path) for path in FOLDER.glob("*.yaml")]
    return {entry.id: entry for entry in sorted(found, key=lambda entry: (entry.category, entry.name.lower()))}


def _read(path: Path) -> Entry:
    """Raises ValueError, with the name of the file, for what the parsers of rules, endpoints and auth refuse."""
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    call_style = data.get("call_style", CallStyle.REST.value)
    try:
        parse_auth(data["auth"])
        return Entry(
            id=data["id"],
            name=data["name"],
            category=data["category"],
            source=data["source"],
            base_url=data["base_url"],
            fields=tuple(Field(name=name, **said) for name, said in data.get("fields", {}).items()),
            auth=data["auth"],
            call_style=call_style,
            body_kind=body_kind_of(data.get("body", "json")),
            honours_idempotency_key=data.get("honours_idempotency_key", False),
            credential=data["credential"],
            note=data.get("note", ""),
            test_call=parse_test_call(**data["test"]),
            scopes=tuple(
                ScopeDefinition(
                    name=name, rules=parse_rules(said["rules"], call_style=call_style), covers=said["covers"]
                )
                for name, said in data["scopes"].items()
            ),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name}: {error}") from error
