"""What the pages of a platform that is there send back: its name, and what its scopes cover."""

from typing import Any

from django import forms
from django.http import QueryDict

from platforms.address_form import checked
from platforms.definitions import MAX_COVERS, ScopeDefinition, parse_rules
from platforms.models import SCOPE_NAME, Platform, Scope, StepUp

MAX_RULES = 10_000  # characters


class PlatformForm(forms.Form):
    """What can be said anew of a platform that is there."""

    name = forms.CharField(max_length=200)
    honours_idempotency_key = forms.BooleanField(
        required=False,
        label="It recognises a repeated call, and does it once",
        help_text="Tick it only if its documentation promises that a call repeated with the same Idempotency-Key"
        " header has no further effect. If the outcome of a call is unknown, “Send again” then cannot do it twice.",
    )

    @classmethod
    def of(cls, platform: Platform, data: QueryDict | None = None) -> "PlatformForm":
        names = ("name", "honours_idempotency_key")
        return cls(data, initial={name: getattr(platform, name) for name in names})


class CoverageForm(forms.Form):
    """What a scope covers, in words and in rules."""

    covers = forms.CharField(max_length=MAX_COVERS, required=False, help_text="One sentence for those who grant it.")
    rules = forms.CharField(
        max_length=MAX_RULES,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="One a line, as in GET /issues/**. * is one segment of the path, ** any number of them."
        " For GraphQL it is POST / alone, for MCP POST /tool.",
    )

    def kind_of_calls(self) -> str:
        """The `CallStyle` of the platform that the scope is of."""
        raise NotImplementedError

    def clean_rules(self) -> list[str]:
        rules = [line.strip() for line in self.cleaned_data["rules"].splitlines() if line.strip()]
        return checked(parse_rules, rules, call_style=self.kind_of_calls())


class ScopeForm(CoverageForm):
    """One scope, and what it takes to decide on a call."""

    field_order = ["name"]

    name = forms.CharField(max_length=128, validators=[SCOPE_NAME])
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

    def kind_of_calls(self) -> str:
        return self.call_style

    def definition(self) -> ScopeDefinition:
        said = self.cleaned_data
        return ScopeDefinition(
            name=said["name"], rules=said["rules"], covers=said["covers"], step_up=said["step_up"] or ""
        )
