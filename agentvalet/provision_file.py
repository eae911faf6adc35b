"""Reading a provisioning file: what it may say, and where in it a mistake is."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import yaml
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.validators import validate_email
from rest_framework import serializers
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from agents.models import Role
from platforms.credentials import parse_auth
from platforms.definitions import MAX_COVERS, parse_rules, refused_target
from platforms.endpoints import parse_base_url
from platforms.models import SCOPE_NAME, SLUG, BodyKind, CallStyle, StepUp

Path = tuple[str | int, ...]
T = TypeVar("T")

LIST_IT = (
    "If it is meant, list {} in AGENTVALET_PRIVATE_TARGETS, here and where the server starts,"
    " and start the server again."
)


class ProvisionError(ValueError):
    """What is wrong with the file: one line for each mistake, as `line 12: agents[0].name: …`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Strict(serializers.Serializer[None]):
    """Refuses a key that it does not know: a misspelt `require_aproval` must not pass for its absence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [str(key) for key in data if key not in self.fields]
            if unknown:
                known = ", ".join(self.fields)
                raise serializers.ValidationError({unknown[0]: [f"There is no such field here; there are: {known}."]})
        return super().to_internal_value(data)


class Word(serializers.CharField):
    """Text that is text in the file, too: an unquoted 007 or `yes` is a question, not an answer."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("This must be text: put it in quotes.")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """true or false, nothing that merely sounds like it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("This must be true or false.")
        return data


class Choice(serializers.ChoiceField):
    """One of some words, which a mistake is answered with."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str) or data not in self.choices:
            raise serializers.ValidationError(f"This must be one of: {', '.join(map(str, self.choices))}.")
        return data


class MemberEntry(Strict):
    email = Word(max_length=254, validators=[validate_email])
    role = Choice(Role.choices)
    password_env = Word(required=False)


class ScopeEntry(Strict):
    rules = serializers.ListField(child=Word(), allow_empty=False)
    step_up = Choice([StepUp.PASSKEY.value], required=False)
    covers = Word(max_length=MAX_COVERS, required=False)


class ScopeField(ScopeEntry):
    """A scope is its list of rules; with something to add, an object that has them under `rules`."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value({"rules": data} if isinstance(data, list) else data)


class PlatformEntry(Strict):
    id = Word(validators=[SLUG])
    name = Word(max_length=200)
    base_url = Word(max_length=500)
    auth = serializers.DictField()
    scopes = serializers.DictField(child=ScopeField(), allow_empty=False)
    call_style = Choice([CallStyle.GRAPHQL.value, CallStyle.MCP.value], required=False)
    body = Choice(["json", *filter(None, BodyKind.values)], default="json")
    honours_idempotency_key = Flag(default=False)
    category = Word(max_length=60, required=False)

    def validate_base_url(self, value: str) -> str:
        value = _checked(parse_base_url, value)
        if sentence := refused_target(value, remedy=LIST_IT):
            raise serializers.ValidationError(sentence)
        return value

    def validate_auth(self, value: dict[str, Any]) -> dict[str, Any]:
        auth = _checked(parse_auth, value)
        if auth.refresh is not None and (sentence := refused_target(auth.refresh.token_url, remedy=LIST_IT)):
            raise serializers.ValidationError(sentence)
        return value

    def validate_scopes(self, value: dict[str, Any]) -> dict[str, Any]:
        for name, scope in value.items():
            try:
                SCOPE_NAME(name)
                parse_rules(scope["rules"], call_style=CallStyle.REST)
            except ValueError as error:
                raise serializers.ValidationError({name: [str(error)]}) from error
            except DjangoValidationError as error:
                raise serializers.ValidationError({name: error.messages}) from error
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "call_style" in attrs:
            for name, scope in attrs["scopes"].items():
                try:
                    parse_rules(scope["rules"], call_style=attrs["call_style"])
                except ValueError as error:
                    raise serializers.ValidationError({"scopes": {name: [str(error)]}}) from error
        return attrs


class IdentityEntry(Strict):
    email = Word(max_length=254, required=False)
    display_name = Word(max_length=200, required=False)
    account_id = Word(max_length=200, required=False)


class ConnectionEntry(Strict):
    platform = Word()
    label = Word(max_length=200)  # type: ignore[assignment]  # a field called as an option it does not replace
    default = Flag(default=False)
    credential_env = Word()
    require_approval = Flag(default=False)
    hint = Word(max_length=500, required=False)
    identity = IdentityEntry(required=False)


class GrantEntry(Strict):
    platform = Word()
    scope = Word()
    require_approval = Flag(default=False)
    connection = Word(required=False, help_text="A connection's label; without it, the platform's default")


class AgentEntry(Strict):
    name = Word(max_length=200)
    public_key_file = Word(required=False)
    invite = Flag(required=False)
    grants = GrantEntry(many=True, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("public_key_file" in attrs) == attrs.get("invite", False):
            raise serializers.ValidationError("Give either public_key_file or invite: true.")
        return attrs


class ProvisionFile(Strict):
    owner = Word(max_length=200)
    members = MemberEntry(many=True, default=list)
    platforms = PlatformEntry(many=True, default=list)
    connections = ConnectionEntry(many=True, default=list)
    agents = AgentEntry(many=True, default=list)


class Document:
    """A parsed file that still knows its line numbers."""

    def __init__(self, text: str) -> None:
        """Raises ProvisionError: not YAML, or a key stands twice."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.value = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ProvisionError([f"line {line}: this is not valid YAML: {error.problem}"]) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ProvisionError([f"line 1: this is not valid YAML: {error}"]) from error
        if root is None:
            raise ProvisionError(["line 1: the file is empty"])
        self.root: Node = root
        if twice := [
            f"line {key.start_mark.line + 1}: {key.value}: this key stands twice" for key in _twice(self.root)
        ]:
            raise ProvisionError(twice)

    def validated(self) -> dict[str, Any]:
        """The file's content, checked for shape. Raises ProvisionError."""
        data = ProvisionFile(data=self.value)
        if not data.is_valid():
            raise ProvisionError([self.problem(path, sentence) for path, sentence in _complaints(data.errors)])
        return dict(data.validated_data)

    def problem(self, path: Path, sentence: str) -> str:
        """`line 12: agents[0].name: …`"""
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        return f"line {self._line(path)}: {name}: {sentence}" if name else f"line {self._line(path)}: {sentence}"

    def _line(self, path: Path) -> int:
        """The line of the deepest part of the path that stands in the file; a missing field has its parent's."""
        node = self.root
        line = 0
        for part in path:
            if isinstance(node, MappingNode):
                entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
                if entry is None:
                    break
                line, node = entry[0].start_mark.line, entry[1]
            elif isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line
            else:
                break
        return line + 1


def _checked(parse: Callable[[Any], T], value: Any) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from error


def _twice(node: Node) -> Iterator[ScalarNode]:
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _twice(value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from _twice(item)


def _complaints(errors: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The leaves of a serializer's errors with their paths."""
    if isinstance(errors, Mapping):
        for name, inner in errors.items():
            yield from _complaints(inner, path if name == "non_field_errors" else (*path, name))
    elif isinstance(errors, list) and any(isinstance(item, Mapping) for item in errors):
        for index, item in enumerate(errors):
            yield from _complaints(item, (*path, index))
    else:
        yield path, " ".join(str(item) for item in errors) if isinstance(errors, list) else str(errors)
