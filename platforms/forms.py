"""What the pages about agents send back to us: read, checked for shape, turned into what the domain functions take."""

from datetime import datetime, timedelta
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from agents.lifecycle import MAX_NAME
from agents.models import InviteKind
from platforms.grants import Choice, NoSuchScope
from platforms.models import SCOPE_NAME, SLUG, Connection

REASON_LENGTH = 500
# Spans, as they need no time zone. The first one is for who looked at something else when giving a permission anew;
# where no permission has an end, there is nothing to keep.
KEEP, NEVER = "", "never"
ENDS = [
    (KEEP, "Keep as it is"),
    (NEVER, "Never"),
    ("1", "In an hour"),
    ("24", "In a day"),
    ("168", "In a week"),
    ("720", "In 30 days"),
    ("2160", "In 90 days"),
]


class NewAgentForm(forms.Form):
    name = forms.CharField(max_length=MAX_NAME)
    kind = forms.ChoiceField(choices=InviteKind.choices)


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=REASON_LENGTH, required=False)


class DeleteForm(forms.Form):
    """`name`: the agent's, typed by hand; its id will do for a name that nobody can type."""

    name = forms.CharField(max_length=MAX_NAME)

    def confirms(self, *, name: str, agent_id: str) -> bool:
        return self.is_valid() and self.cleaned_data["name"] in {" ".join(name.split()), agent_id}

    def clean_name(self) -> str:
        return " ".join(self.cleaned_data["name"].split())


class ToggleForm(forms.Form):
    require_approval = forms.TypedChoiceField(choices=[("1", "on"), ("0", "off")], coerce=lambda value: value == "1")


class LookForm(forms.Form):
    """What the address of an agent's page may say beside the agent: what can be undone, a call to try out."""

    changed = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    taken = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    scope = forms.CharField(required=False, max_length=192)
    method = forms.CharField(required=False, max_length=16)
    endpoint = forms.CharField(required=False, max_length=2000)


class AccessForm(forms.Form):
    """`scope`: what the owner grants instead of what the agent named."""

    scope = forms.CharField(max_length=128, required=False, validators=[SCOPE_NAME])
    require_approval = forms.BooleanField(required=False)


class PermissionForm(forms.Form):
    """A permission for an agent: one of the owner's scopes, on any connection of its platform or on one.

    `expires_at` goes before `ends`: an end that a permission had, to be given back with it.
    """

    require_approval = forms.BooleanField(required=False)
    ends = forms.ChoiceField(choices=ENDS, required=False)
    expires_at = forms.DateTimeField(required=False)

    def __init__(
        self, data: QueryDict | None, *, scopes: dict[str, list[str]], connections: dict[str, list[Connection]]
    ) -> None:
        super().__init__(data)
        by_scope = [(slug, [(f"{slug}:{name}", name) for name in names]) for slug, names in scopes.items()]
        by_connection = [(slug, [(str(row.pk), row.label) for row in rows]) for slug, rows in connections.items()]
        self.fields["scope"] = forms.ChoiceField(choices=by_scope)
        self.fields["connection"] = forms.ChoiceField(choices=[("", ""), *by_connection], required=False)

    def choice(self, *, now: datetime) -> Choice:
        platform, _, scope = self.cleaned_data["scope"].partition(":")
        connection, ends = self.cleaned_data["connection"], self.cleaned_data["ends"]
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is None and ends not in {KEEP, NEVER}:
            expires_at = now + timedelta(hours=int(ends))
        return Choice(
            platform=platform,
            scope=scope,
            require_approval=self.cleaned_data["require_approval"],
            connection_id=UUID(connection) if connection else None,
            expires_at=expires_at,
            keeps_end=expires_at is None and ends == KEEP,
        )


def picked(data: QueryDict) -> list[Choice]:
    """The boxes ticked on a registration: `grant` holds platform:scope, `ask` those of them that a person approves.

    Raises:
        NoSuchScope: a value that no box of ours has.
    """
    asking = set(data.getlist("ask"))
    choices = []
    for value in dict.fromkeys(data.getlist("grant")):
        platform, _, scope = value.partition(":")
        try:
            SLUG(platform)
            SCOPE_NAME(scope)
        except ValidationError as error:
            raise NoSuchScope("There is no such scope.") from error
        choices.append(Choice(platform=platform, scope=scope, require_approval=value in asking))
    return choices
