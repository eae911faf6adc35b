"""What the pages about connections send back: what one is for, and its credential."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict

from audit.events import JSON
from platforms.catalogue import Entry
from platforms.credentials import MAX_CREDENTIAL_CHARACTERS
from platforms.definitions import Definition
from platforms.models import SLUG, Connection
from platforms.refresh_grants import RefreshGrant
from platforms.setup import Details


class DetailsForm(forms.Form):
    """What a connection is called and for."""

    label = forms.CharField(max_length=200, help_text="What you call this account, as in “Team” or “Billing”.")
    hint = forms.CharField(max_length=500, required=False, help_text="For agents, who see it: when to use this one.")
    is_default = forms.BooleanField(required=False, label="Use it where a call names no connection")
    require_approval = forms.BooleanField(required=False, label="Require human approval per request on this connection")

    @classmethod
    def of(cls, connection: Connection, data: QueryDict | None = None) -> "DetailsForm":
        names = ("label", "hint", "is_default", "require_approval")
        return cls(data, initial={name: getattr(connection, name) for name in names}, auto_id=f"{connection.pk}-%s")

    def details(self) -> Details:
        return Details(
            is_default=self.cleaned_data["is_default"],
            require_approval=self.cleaned_data["require_approval"],
            hint=self.cleaned_data["hint"],
        )


def _secret(**options: Any) -> forms.CharField:
    widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "off", "spellcheck": "false"})
    return forms.CharField(max_length=MAX_CREDENTIAL_CHARACTERS, widget=widget, **options)


class CredentialForm(forms.Form):
    """The credential is in what is sent here, and in no page: a form that comes back comes back without it.

    Of a platform whose `auth` has `refresh` it is a refresh token with its client, or an access token alone.
    """

    credential = _secret(help_text="It is sealed at once and never shown again.")

    def __init__(self, data: QueryDict | None = None, *, auth: Mapping[str, JSON], **options: Any) -> None:
        super().__init__(data, **options)
        self.is_renewed = "refresh" in auth
        if self.is_renewed:
            self.fields["refresh_token"] = _secret(
                required=False, help_text="With it, access tokens are got and renewed by themselves."
            )
            self.fields["client_id"] = forms.CharField(max_length=500, required=False, label="Client id")
            self.fields["client_secret"] = _secret(
                required=False, help_text="Of the application that the refresh token was given to, if it has one."
            )
            self.fields["credential"].required = False
            self.fields["credential"].label = "Or an access token alone"

    def clean(self) -> None:
        super().clean()
        if not self.is_renewed or self.errors:
            return
        said = self.cleaned_data
        if bool(said["refresh_token"]) == bool(said["credential"]):
            self.add_error("refresh_token", "Give a refresh token with its client, or an access token alone.")
        elif said["refresh_token"]:
            said["credential"] = RefreshGrant(
                client_id=said["client_id"], client_secret=said["client_secret"], refresh_token=said["refresh_token"]
            ).text()


class ConnectForm(CredentialForm, DetailsForm):
    """A new connection of a platform that is there."""

    restore = forms.BooleanField(required=False, label="Give these permissions again")
    field_order = ["slug", "label", "credential", "hint", "is_default", "require_approval"]

    def places(self) -> list[forms.BoundField]:
        """The fields of the address, before all others."""
        return []


class EntryForm(ConnectForm):
    """A platform of the catalogue with its first connection. The parts of its address are `at_…`."""

    slug = forms.CharField(
        max_length=63, validators=[SLUG], label="Platform id", help_text="What agents call it: a-z, 0-9 and '-'."
    )

    def __init__(self, data: QueryDict | None, *, entry: Entry) -> None:
        super().__init__(data, auth=entry.auth, initial={"slug": entry.id, "label": "Main", "is_default": True})
        self.entry = entry
        for field in entry.fields:
            self.fields[f"at_{field.name}"] = forms.CharField(
                max_length=253,
                label=field.label,
                initial=field.default,
                help_text=f"As in “{field.example}”." if field.example else "",
            )

    def places(self) -> list[forms.BoundField]:
        return [self[f"at_{field.name}"] for field in self.entry.fields]

    def definition(self) -> Definition:
        """Raises FieldRefused."""
        fields = {field.name: self.cleaned_data[f"at_{field.name}"] for field in self.entry.fields}
        return self.entry.definition(slug=self.cleaned_data["slug"], fields=fields)
