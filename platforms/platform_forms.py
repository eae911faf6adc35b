"""What the pages about platforms send back: read, checked for shape, turned into what the domain functions take."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict

from platforms.address_form import AddressForm, checked
from platforms.definitions import (
    MAX_COVERS,
    MAX_QUERY,
    Definition,
    ScopeDefinition,
    parse_rules,
    parse_test_call,
)
from platforms.models import SCOPE_NAME, SLUG, BodyKind, CallStyle, Platform, Scope, StepUp

MAX_RULES = 10_000  # characters
OTHER = "Other"


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
        return checked(parse_rules, rules, call_style=self.call_style)

    def definition(self) -> ScopeDefinition:
        said = self.cleaned_data
        return ScopeDefinition(
            name=said["name"], rules=said["rules"], covers=said["covers"], step_up=said["step_up"] or ""
        )


class CustomForm(AddressForm):
    """A platform that is in no catalogue, with its first scope."""

    field_order = [
        "name", "slug", "call_style", "base_url", "body_kind", "auth_type", "auth_name", "auth_prefix", "token_url",
        "token_client", "headers",
    ]  # fmt: skip

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
    body_kind = forms.ChoiceField(
        choices=BodyKind.choices,
        required=False,
        label="Body of a call",
        help_text="What the agent's data is made into: JSON, unless the platform's documentation wants a form.",
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

    def clean_rules(self) -> list[str]:
        rules = [line.strip() for line in self.cleaned_data["rules"].splitlines() if line.strip()]
        return checked(parse_rules, rules, call_style=self.cleaned_data.get("call_style", ""))

    def clean(self) -> None:
        super().clean()
        if self.cleaned_data.get("test"):
            self.clean_part("test", lambda said: parse_test_call(**said), self._test())

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
            auth=self.auth(),
            call_style=said["call_style"],
            body_kind=said["body_kind"],
            category=OTHER,
            test_call=parse_test_call(**self._test()) if said["test"] else None,
            scopes=[ScopeDefinition(name=said["scope"], rules=said["rules"], covers=said["covers"])],
        )
