"""Credentials that are renewed: a refresh token with the client it was given to, exchanged at a platform's token URL.

RFC 6749, section 6. What an admin gives, and what is sealed, is one text: a JSON object with `client_id`,
`client_secret` (if the client has one) and `refresh_token`.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Literal
from urllib.parse import quote_plus, urlencode, urlsplit

from platforms.client import PlatformResponse
from platforms.credentials import MAX_CREDENTIAL_CHARACTERS, Auth, Refresh, check_credential

LONGEST_LIFE = 24 * 3600  # seconds; an access token is not used for longer, whatever is said of it
UNSAID_LIFE = 600  # where nothing is said
MAX_ANSWER = 64 * 1024
# The words that are repeated to agents and kept on record; of any other only the status is, as it could be a secret.
# What a server says of itself, not of the grant (RFC 6749, section 4.1.2.1, and Slack's and others' words for it).
_PASSING = frozenset(
    {"temporarily_unavailable", "server_error", "internal_error", "fatal_error", "service_unavailable"}
    | {"slow_down", "ratelimited", "rate_limited", "request_timeout"}
)
# What it says of the grant or its client: RFC 6749, section 5.2; then Slack, GitHub, Google, Microsoft.
_LASTING = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
    | {"invalid_scope", "access_denied"}
    | {"invalid_refresh_token", "token_expired", "token_revoked", "invalid_auth", "not_authed", "account_inactive"}
    | {"invalid_client_id", "bad_client_secret", "bad_refresh_token", "incorrect_client_credentials"}
    | {"application_suspended", "deleted_client", "disabled_client", "admin_policy_enforced", "org_internal"}
    | {"interaction_required", "consent_required", "login_required"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshGrant:
    """Who asks for an access token, and by what right. All of it is secret but `client_id`."""

    client_id: str
    refresh_token: str = field(repr=False)
    client_secret: str = field(default="", repr=False)
    given: str = field(
        default="", repr=False
    )  # once the platform has put another refresh token in its place: the hash of what was given

    def text(self) -> str:
        """As it is given and sealed."""
        return json.dumps({name: value for name, value in asdict(self).items() if value}, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What a token URL has answered. `refresh_token` is "" where the old one goes on being good."""

    access_token: str = field(repr=False)
    life: int  # seconds; 0 for one that is good for this call only
    refresh_token: str = field(default="", repr=False)


class NotRenewed(Exception):
    """There is no access token. `code` says whether the grant was refused or the server was in trouble."""

    def __init__(self, code: Literal["reauth_needed", "token_unavailable"], sentence: str) -> None:
        super().__init__(sentence)
        self.code: Literal["reauth_needed", "token_unavailable"] = code


def is_renewed(auth: Auth, credential: str) -> bool:
    """Whether the stored credential is a grant, not a token. No token that a header carries begins with a brace.

    A grant is one also for a platform that renews none any more: it is never sent as if it were a token.
    """
    if not credential.startswith("{"):
        return False
    return auth.refresh is not None or is_same_grant(credential, credential)


def read_grant(text: str) -> RefreshGrant:
    """The grant in the text, as given or as sealed. Raises ValueError with a sentence that has none of its values."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    names = {"client_id", "client_secret", "refresh_token", "given"}
    if not isinstance(data, dict) or not {"client_id", "refresh_token"} <= data.keys() <= names:
        raise ValueError("The credential must be a JSON object with client_id, client_secret and refresh_token.")
    if not all(isinstance(value, str) and value.strip() == value for value in data.values()):
        raise ValueError("client_id, client_secret and refresh_token are texts without white space around them.")
    if not data["client_id"] or not data["refresh_token"]:
        raise ValueError("client_id and refresh_token cannot be empty.")
    if not all(value.isascii() and value.isprintable() for value in data.values()):
        raise ValueError("client_id, client_secret and refresh_token contain printable ASCII characters only.")
    return RefreshGrant(**data)


def rotated(grant: RefreshGrant, refresh_token: str) -> RefreshGrant:
    """The same grant with the refresh token that the platform has put in place of the old one."""
    return replace(grant, refresh_token=refresh_token, given=grant.given or _hash(grant))


def is_same_grant(stored: str, given: str) -> bool:
    """Whether the stored credential is the grant in the given one, perhaps with another refresh token by now."""
    try:
        mine, theirs = read_grant(stored), read_grant(given)
    except ValueError:
        return False
    return mine == theirs or (mine.given != "" and mine.given == _hash(theirs))


def _hash(grant: RefreshGrant) -> str:
    return hashlib.sha256(replace(grant, given="").text().encode()).hexdigest()


def check_stored(auth: Auth, credential: str) -> None:
    """Raises ValueError with a sentence if this cannot be a connection's credential: neither token nor grant."""
    if not is_renewed(auth, credential):
        check_credential(auth, credential)
        return
    if len(credential) > MAX_CREDENTIAL_CHARACTERS:
        raise ValueError(f"The credential is longer than {MAX_CREDENTIAL_CHARACTERS} characters.")
    if auth.refresh is None:
        raise ValueError("This platform does not renew credentials: give an access token.")
    if read_grant(credential).given:
        raise ValueError("The credential must be a JSON object with client_id, client_secret and refresh_token.")


def secrets_of(grant: RefreshGrant) -> list[str]:
    """What of it must not leave in a call."""
    return [secret for secret in (grant.refresh_token, grant.client_secret) if secret]


def request_of(refresh: Refresh, grant: RefreshGrant) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body that ask for an access token (RFC 6749, sections 2.3.1 and 6)."""
    headers = [("Accept", "application/json"), ("Content-Type", "application/x-www-form-urlencoded")]
    fields = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
    if refresh.client == "basic":
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
        headers.append(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
    else:
        fields["client_id"] = grant.client_id
        if grant.client_secret:
            fields["client_secret"] = grant.client_secret
    return headers, urlencode(fields).encode()


def read_answer(auth: Auth, refresh: Refresh, response: PlatformResponse) -> Renewed:
    """The access token in the answer of a token URL (RFC 6749, section 5).

    An error with status 200 is one too: so Slack and GitHub answer. Only a JSON object with an `error` says something
    of the grant; a page of a firewall or a proxy does not, whatever its status.

    Raises:
        NotRenewed
    """
    host = urlsplit(refresh.token_url).netloc
    try:
        data = json.loads(response.body)
    except (ValueError, RecursionError):
        data = None
    said = data if isinstance(data, dict) else {}
    token, error = said.get("access_token"), said.get("error")
    if 200 <= response.status < 300 and isinstance(token, str) and token and not error:
        try:
            check_credential(auth, token)
        except ValueError:
            raise NotRenewed("token_unavailable", f"The access token of {host} cannot be carried.") from None
        rotated = said.get("refresh_token")
        fits = isinstance(rotated, str) and rotated.isascii() and rotated.isprintable() and rotated == rotated.strip()
        return Renewed(
            access_token=token, life=_life(said.get("expires_in")), refresh_token=str(rotated) if fits else ""
        )
    word = error if isinstance(error, str) else ""
    why = word if word in _PASSING | _LASTING else response.status
    if word and word not in _PASSING and (response.status in {400, 401, 403} or response.status < 300):
        raise NotRenewed(
            "reauth_needed", f"{host} does not renew the access any more ({why}): reauthenticate the connection."
        )
    raise NotRenewed("token_unavailable", f"{host} did not renew the access ({why}).")


def _life(expires_in: object) -> int:
    if isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdigit() and len(expires_in) < 10:
        expires_in = int(expires_in)
    if not isinstance(expires_in, int | float) or isinstance(expires_in, bool) or not -(10**10) < expires_in < 10**10:
        return UNSAID_LIFE
    return max(0, min(int(expires_in), LONGEST_LIFE))
