"""Where a platform is and how it wants its credential, as people fill that in."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

from django import forms
from django.http import QueryDict

from audit.events import JSON
from platforms.credentials import parse_auth
from platforms.definitions import refused_target
from platforms.endpoints import parse_base_url
from platforms.models import Platform

T = TypeVar("T")


class AddressForm(forms.Form):
    """`base_url` and `auth()` are what `platforms.definitions` has of them."""

    base_url = forms.CharField(
        max_length=500, label="Base URL", help_text="Every path is under it. For GraphQL and MCP it is the one address."
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

    @classmethod
    def of(cls, platform: Platform, data: QueryDict | None = None) -> Self:
        """As the platform is now, or DATA."""
        auth = platform.auth
        refresh = auth.get("refresh", {})
        headers = "\n".join(f"{name}: {text}" for name, text in auth.get("headers", {}).items())
        initial = {
            "base_url": platform.base_url,
            "auth_type": auth["type"],
            "auth_name": auth.get("name", ""),
            "auth_prefix": auth.get("prefix", ""),
            "token_url": refresh.get("token_url", ""),
            "token_client": refresh.get("client", "body"),
            "headers": headers,
        }
        return cls(data, initial=initial)

    def clean_base_url(self) -> str:
        base_url = checked(parse_base_url, self.cleaned_data["base_url"])
        if sentence := refused_target(base_url):
            raise forms.ValidationError(sentence)
        return base_url

    def clean_token_url(self) -> str:
        if not self.cleaned_data["token_url"]:
            return ""
        url = checked(parse_base_url, self.cleaned_data["token_url"])
        if sentence := refused_target(url):
            raise forms.ValidationError(sentence)
        return url

    def clean_headers(self) -> dict[str, str]:
        pairs = [line.partition(":") for line in self.cleaned_data["headers"].splitlines() if line.strip()]
        return {name.strip(): text.strip() for name, _, text in pairs}

    def clean(self) -> None:
        self.clean_part("auth_name", parse_auth, self.auth())

    def clean_part(self, field: str, parse: Any, value: object) -> None:
        try:
            parse(value)
        except ValueError as error:
            self.add_error(field, str(error))

    def auth(self) -> dict[str, JSON]:
        """As the platform has it. Of fields that are wrong it has nothing."""
        said = self.cleaned_data
        auth: dict[str, JSON] = {"type": said.get("auth_type", "")}
        for key, name in (("name", "auth_name"), ("prefix", "auth_prefix"), ("headers", "headers")):
            if said.get(name):
                auth[key] = said[name]
        if said.get("token_url"):
            auth["refresh"] = {"token_url": said["token_url"], "client": said.get("token_client") or "body"}
        return auth


def checked(parse: Callable[..., T], *values: object, **options: object) -> T:
    """What PARSE makes of it. Raises ValidationError with the sentence of its ValueError."""
    try:
        return parse(*values, **options)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from error
