"""A platform that is in no catalogue, as people fill it in: where it is, its credential, its first scope."""

from collections.abc import Mapping
from typing import Any

from django import forms

from platforms.address_form import AddressForm
from platforms.definitions import MAX_QUERY, Definition, ScopeDefinition, parse_test_call
from platforms.models import SCOPE_NAME, SLUG, BodyKind, CallStyle
from platforms.platform_forms import CoverageForm

OTHER = "Other"


class CustomForm(AddressForm, CoverageForm):
    """A platform that is in no catalogue, with its first scope."""

    field_order = [
        "name", "slug", "call_style", "base_url", "body_kind", "auth_type", "auth_name", "auth_prefix",
        "scope", "covers", "rules", "test", "identity", "headers", "token_url", "token_client",
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
        help_text="For REST: JSON, unless the platform’s documentation wants a form.",
    )
    test = forms.CharField(
        max_length=MAX_QUERY,
        required=False,
        label="Call that tests a connection",
        help_text="For REST a path that is fetched, as in /user; for GraphQL a query, as in { viewer { id } }. It only"
        " reads.",
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

    def says_more(self) -> bool:
        """Whether there is something to see in the fields that most platforms do without."""
        return any(self[name].value() or self[name].errors for name in ("test", "identity", "headers", "token_url"))

    def kind_of_calls(self) -> str:
        return str(self.cleaned_data.get("call_style", ""))

    def clean(self) -> None:
        """What the chosen kind of platform does not take counts for nothing: the page may have it hidden."""
        super().clean()
        said = self.cleaned_data
        if said.get("call_style"):
            said["body_kind"] = BodyKind.JSON.value
        if said.get("call_style") == CallStyle.MCP:
            said["test"] = ""
        if said.get("test"):
            self.clean_part("test", lambda call: parse_test_call(**call), self._test())
            where = {"endpoint": "/", "identity": self._identity()}
            self.clean_part("identity", lambda call: parse_test_call(**call), where)

    def _test(self) -> dict[str, Any]:
        is_graphql = self.cleaned_data.get("call_style") == CallStyle.GRAPHQL
        return {"query" if is_graphql else "endpoint": self.cleaned_data["test"]}

    def _identity(self) -> dict[str, str]:
        path = self.cleaned_data.get("identity", "")
        is_email = path.lower().rpartition(".")[2].startswith("email")
        return {"email" if is_email else "account_id": path} if path else {}

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
            test_call=parse_test_call(**self._test(), identity=self._identity()) if said["test"] else None,
            scopes=[ScopeDefinition(name=said["scope"], rules=said["rules"], covers=said["covers"])],
        )
