"""What the pages about platforms send back: read, checked for shape, turned into what the domain functions take."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django import forms
from django.http import QueryDict

from audit.events import JSON
from platforms.credentials import parse_auth
from platforms.definitions import (
    MAX_COVERS,
    MAX_QUERY,
    Definition,
    ScopeDefinition,
    parse_rules,
    parse_test_call,
    refused_target,
)
from platforms.endpoints import parse_base_url
from platforms.models import SCOPE_NAME, SLUG, BodyKind, CallStyle, Platform, Scope, StepUp

MAX_RULES = 10_000  # characters
OTHER = "Other"
T = TypeVar("T")


class PlatformForm(forms.Form):
    """What can be said anew of a platform that is there."""

    name = forms.CharField(max_length=200)
    honours_idempotency_key = forms.BooleanField(
        required=False,
        label="Its documentation promises to act on one Idempotency-Key once",
        help_text="“Send again” after an unknown outcome then goes out under the key of the first call.",
    )

    @classmethod
    def of(cls, platform: Platform, data: QueryDict | None = None) -> "PlatformForm":
        names = ("name", "honours_idempotency_key")
        return cls(data, initial={name: getattr(platform, name) for name in names})


class ScopeForm(forms.Form):
    """One scope: what it covers in words and in rules, and what it takes to decide on a call."""

    name = forms.CharField(max_length=128, validators=[SCOPE_NAME])
    covers = forms.CharField(max_length=MAX_COVERS, required=False, help_text="One sentence for those who grant it.")
    rules = forms.CharField(
        max_length=MAX_RULES,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="One a line, as in GET /issues/**. * is one segment of the path, ** any number of them.",
    )
    step_up = forms.ChoiceField(
        choices=StepUp.choices, required=False, label="Approve and deny", help_text="Of calls that wait for a person."
    )

    def __init__(self, data: QueryDict | None, *, call_style: str, scope: Scope | None = None) -> None:
        initial: dict[str, Any] = {}
        if scope is not None:
            names = ("name", "covers", "step_up")
            initial = {name: getattr(scope, name) for name in names} | {"rules": "\n".join(scope.rules)}
        super().__init__(data, initial=initial, auto_id=f"scope-{scope.pk}-%s" if scope else "scope-new-%s")
        self.call_style = call_style
        if scope is not None:
            self.fields["name"].disabled = True

    def clean_rules(self) -> list[str]:
        rules = [line.strip() for line in self.cleaned_data["rules"].splitlines() if line.strip()]
        return _checked(parse_rules, rules, call_style=self.call_style)

    def definition(self) -> ScopeDefinition:
        said = self.cleaned_data
        return ScopeDefinition(
            name=said["name"], rules=said["rules"], covers=said["covers"], step_up=said["step_up"] or ""
        )


class CustomForm(forms.Form):
    """A platform that is in no catalogue, with its first scope."""

    name = forms.CharField(max_length=200)
    slug = forms.CharField(
        max_length=63, validators=[SLUG], label="Platform id", help_text="What agents call it: a-z, 0-9 and '-'."
    )
    call_style = forms.ChoiceField(
        choices=[
            ("", "REST: paths and methods"),
            ("graphql", "GraphQL: one address"),
            ("mcp", "MCP server: one address, tools"),
        ],
        required=False,
        label="Kind",
    )
    base_url = forms.CharField(
        max_length=500, label="Base URL", help_text="Every path is under it. For GraphQL and MCP it is the one address."
    )
    body_kind = forms.ChoiceField(
        choices=BodyKind.choices,
        required=False,
        label="Body of a call",
        help_text="What the agent's data is made into: JSON, unless the platform's documentation wants a form.",
    )
    auth_type = forms.ChoiceField(
        label="The credential goes into",
        choices=[
            ("bearer", "Authorization: Bearer …"),
            ("header", "another header"),
            ("query", "a parameter of the query"),
            ("basic", "HTTP basic: user:password"),
        ],
    )
    auth_name = forms.CharField(
        max_length=64, required=False, label="Name of that header or parameter", help_text="As in X-Api-Key."
    )
    auth_prefix = forms.CharField(
        max_length=32,
        required=False,
        strip=False,
        label="What stands before it in that header",
        help_text="As in “Token token=”. Mind the space at its end.",
    )
    token_url = forms.CharField(
        max_length=500,
        required=False,
        label="Token URL",
        help_text="Where refresh tokens are exchanged (OAuth 2.0), as in https://auth.example.com/token.",
    )
    token_client = forms.ChoiceField(
        choices=[("body", "in the form"), ("basic", "as HTTP basic")],
        required=False,
        label="The client names itself there",
    )
    headers = forms.CharField(
        max_length=2000,
        required=False,
        label="Headers of every call",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One a line, as in X-Api-Version: 2. Never a secret: they are shown in clear.",
    )
    test = forms.CharField(
        max_length=MAX_QUERY,
        required=False,
        label="Call that tests a connection",
        help_text="A path that is fetched, as in /user, or a GraphQL query, as in { viewer { id } }. It only reads.",
    )
    identity = forms.CharField(
        max_length=200,
        required=False,
        label="Whose account it is",
        help_text="Where that stands in the answer to the test, as in user.email.",
    )
    scope = forms.CharField(
        max_length=128, validators=[SCOPE_NAME], label="First scope", help_text="As in issues:read."
    )
    covers = forms.CharField(max_length=MAX_COVERS, required=False, help_text="One sentence for those who grant it.")
    rules = forms.CharField(
        max_length=MAX_RULES,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="One a line, as in GET /issues/**. For GraphQL it is POST / alone, for MCP POST /tool.",
    )

    def clean_base_url(self) -> str:
        base_url = _checked(parse_base_url, self.cleaned_data["base_url"])
        if sentence := refused_target(base_url):
            raise forms.ValidationError(sentence)
        return base_url

    def clean_token_url(self) -> str:
        if not self.cleaned_data["token_url"]:
            return ""
        url = _checked(parse_base_url, self.cleaned_data["token_url"])
        if sentence := refused_target(url):
            raise forms.ValidationError(sentence)
        return url

    def clean_headers(self) -> dict[str, str]:
        pairs = [line.partition(":") for line in self.cleaned_data["headers"].splitlines() if line.strip()]
        return {name.strip(): text.strip() for name, _, text in pairs}

    def clean_rules(self) -> list[str]:
        rules = [line.strip() for line in self.cleaned_data["rules"].splitlines() if line.strip()]
        return _checked(parse_rules, rules, call_style=self.cleaned_data.get("call_style", ""))

    def clean(self) -> None:
        self._clean_part("auth_name", parse_auth, self._auth())
        if self.cleaned_data.get("test"):
            self._clean_part("test", lambda said: parse_test_call(**said), self._test())

    def _clean_part(self, field: str, parse: Any, value: object) -> None:
        try:
            parse(value)
        except ValueError as error:
            self.add_error(field, str(error))

    def _auth(self) -> dict[str, JSON]:
        said = self.cleaned_data
        auth: dict[str, JSON] = {"type": said.get("auth_type", "")}
        for key, name in (("name", "auth_name"), ("prefix", "auth_prefix"), ("headers", "headers")):
            if said.get(name):
                auth[key] = said[name]
        if said.get("token_url"):
            auth["refresh"] = {"token_url": said["token_url"], "client": said.get("token_client") or "body"}
        return auth

    def _test(self) -> dict[str, Any]:
        said = self.cleaned_data
        path = said.get("identity", "")
        identity = {"email" if path.lower().rpartition(".")[2].startswith("email") else "account_id": path}
        is_graphql = said.get("call_style") == CallStyle.GRAPHQL
        return {"query" if is_graphql else "endpoint": said["test"], "identity": identity if path else {}}

    def definition(self) -> Definition:
        said: Mapping[str, Any] = self.cleaned_data
        return Definition(
            slug=said["slug"],
            name=said["name"],
            base_url=said["base_url"],
            auth=self._auth(),
            call_style=said["call_style"],
            body_kind=said["body_kind"],
            category=OTHER,
            test_call=parse_test_call(**self._test()) if said["test"] else None,
            scopes=[ScopeDefinition(name=said["scope"], rules=said["rules"], covers=said["covers"])],
        )


def _checked(parse: Callable[..., T], *values: object, **options: object) -> T:
    try:
        return parse(*values, **options)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from error
