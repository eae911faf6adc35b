"""Where a platform is and how it wants its credential, as people fill that in."""

import re
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

_PART_OF_AUTH = re.compile(r"^auth[.a-z_]*")  # as files call what has a label here


# Which part of `auth` a field has, and the kinds of credential that take that part.
_PARTS = (
    ("name", "auth_name", {"header", "query"}),
    ("prefix", "auth_prefix", {"header"}),
    ("headers", "headers", {"bearer", "header", "query", "basic"}),
    ("refresh", "token_url", {"bearer", "header"}),
)


class AddressForm(forms.Form):
    """`base_url` and `auth()` are what `platforms.definitions` has of them.

    A field that the chosen kind of credential does not take counts for nothing: the page may have it hidden.
    """

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
        max_length=64,
        required=False,
        label="Name of that header or parameter",
        help_text="For another header or a parameter, as in X-Api-Key.",
    )
    auth_prefix = forms.CharField(
        max_length=32,
        required=False,
        strip=False,
        label="Word before the credential",
        help_text="For another header that wants one, as in “Token token=”. Mind a space at its end.",
    )
    headers = forms.CharField(
        max_length=2000,
        required=False,
        label="Headers of every call",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One a line, as in X-Api-Version: 2. Never a secret: they are shown in clear.",
    )
    token_url = forms.CharField(
        max_length=500,
        required=False,
        label="Token URL",
        widget=forms.TextInput(attrs={"placeholder": "https://auth.example.com/token"}),
        help_text="For OAuth 2.0, with a bearer token or another header: where refresh tokens are exchanged.",
    )
    token_client = forms.ChoiceField(
        choices=[
            ("body", "in the form that is sent (client_secret_post)"),
            ("basic", "in the header, as HTTP basic (client_secret_basic)"),
        ],
        required=False,
        label="Client id and secret go",
        help_text="With a token URL, as its documentation says.",
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
        """Each part by itself, so that every field that is wrong is marked."""
        auth = self.auth()
        good: dict[str, JSON] = {"type": auth["type"]}
        for part, field, kinds in _PARTS:
            if auth["type"] not in kinds or field in self.errors:
                continue
            tried = good | {name: value for name, value in auth.items() if name == part}
            if self.clean_part(field, parse_auth, tried):
                good = tried
            elif part == "name":
                good["name"] = "unnamed"  # the other parts are looked at beside a name that will do

    def clean_part(self, field: str, parse: Callable[[Any], object], value: object) -> bool:
        """Whether PARSE takes the value. If not, the field says so."""
        try:
            parse(value)
        except ValueError as error:
            self.add_error(field, _PART_OF_AUTH.sub("This", str(error)))
            return False
        return True

    def auth(self) -> dict[str, JSON]:
        """As the platform has it. Of fields that are wrong it has nothing."""
        said = self.cleaned_data
        kind = said.get("auth_type", "")
        auth: dict[str, JSON] = {"type": kind}
        for part, field, kinds in _PARTS:
            if kind in kinds and said.get(field):
                auth[part] = said[field]
        if "refresh" in auth:
            auth["refresh"] = {"token_url": said["token_url"], "client": said.get("token_client") or "body"}
        return auth


def checked(parse: Callable[..., T], *values: object, **options: object) -> T:
    """What PARSE makes of it. Raises ValidationError with the sentence of its ValueError."""
    try:
        return parse(*values, **options)
    except ValueError as error:
        raise forms.ValidationError(str(error)) from error
