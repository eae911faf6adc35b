"""What a decision binds to: the canonical bytes of a call, their digest, and the seal over the decision.

Form 1 is a JSON object, ASCII only, keys sorted, no white space (`docs/binding.md`). The card, the decision, the audit
row and the worker all work from these bytes; no second description of the call exists.
"""

import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from django.conf import settings

from approvals.models import ApprovalRequest

FORM_VERSION = 1


class FormError(ValueError):
    """The stored bytes are not a form this version writes."""


class Tampered(Exception):
    """The row is not what was asked for or decided on. The text says which check failed, without its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One call, complete: what is decided on and what is sent.

    `body` is the exact text of the request body, None for no body at all. `url` is where it goes; `endpoint` is the
    agent's part of it, which the scope's rules are held against. `placement` is where the credential goes, `headers`
    are those that its platform sets on every call. `policy_version` is that of the moment of asking.
    """

    version: int
    owner_id: str
    agent_id: str
    platform: str
    connection_id: str
    credential_version: int
    scope: str
    method: str
    endpoint: str
    url: str
    content_type: str
    placement: str
    headers: Mapping[str, str]
    body: str | None
    policy_version: str


def canonical_form(value: object) -> bytes:
    """JSON in ASCII, keys sorted, no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def write_form(form: Form) -> bytes:
    """The canonical bytes of `form`."""
    return canonical_form(asdict(form))


def read_form(data: bytes) -> Form:
    """The call in canonical bytes.

    Raises:
        FormError: not exactly what `write_form` writes.
    """
    try:
        form = Form(**json.loads(data))
        canonical = write_form(form)
    except (ValueError, TypeError, RecursionError) as error:
        raise FormError("The stored call cannot be read.") from error
    if form.version != FORM_VERSION or canonical != bytes(data) or not _is_well_typed(form):
        raise FormError("The stored call is not in canonical form.")
    return form


_NO_TEXTS = frozenset({"version", "credential_version", "headers", "body"})


def _is_well_typed(form: Form) -> bool:
    numbers = {form.version, form.credential_version}
    texts = {value for name, value in asdict(form).items() if name not in _NO_TEXTS}
    return (
        all(type(number) is int for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and (form.body is None or isinstance(form.body, str))
        and isinstance(form.headers, dict)
        and all(isinstance(text, str) for text in form.headers.values())
    )


def digest_of(data: bytes) -> str:
    """SHA-256 of canonical bytes, 64 hex digits: what the card shows and the decision names."""
    return hashlib.sha256(data).hexdigest()


def check_row(approval: ApprovalRequest) -> Form:
    """The row's call, after making sure that digest and columns say the same as its bytes.

    Raises:
        Tampered: they do not.
    """
    data = bytes(approval.form)
    if not hmac.compare_digest(digest_of(data).encode(), approval.digest.encode()):
        raise Tampered("the digest is not that of the stored call")
    try:
        form = read_form(data)
    except FormError as error:
        raise Tampered("the stored call is not in canonical form") from error
    columns = {
        "owner": (str(approval.owner_id), form.owner_id),
        "agent": (approval.agent_id, form.agent_id),
        "platform": (approval.platform, form.platform),
        "scope": (approval.scope, form.scope),
        "connection": (str(approval.connection_id), form.connection_id),
    }
    for name, (column, bound) in columns.items():
        if column != bound:
            raise Tampered(f"the column for the {name} is not that of the stored call")
    return form


def seal_of(approval: ApprovalRequest) -> bytes:
    """HMAC-SHA256 over the decision and everything it was taken on, under AGENTVALET_SEAL_KEY.

    The call's own fields come in through the digest. The key is not in the database, so whoever can write rows cannot
    make or alter a decision.
    """
    if approval.decided_at is None:
        raise ValueError("There is no decision to seal.")
    statement = {
        "approval_id": str(approval.pk),
        "request_id": str(approval.request_id),
        "digest": approval.digest,
        "agent_name": approval.agent_name,
        "connection_label": approval.connection_label,
        "reason": approval.reason,
        "requester_address": approval.requester_address,
        "session_id": approval.session_id,
        "disclosure": approval.disclosure,
        "created_at": approval.created_at.isoformat(),
        "expires_at": approval.expires_at.isoformat(),
        "again_of": str(approval.again_of_id) if approval.again_of_id else None,
        "again_by": approval.again_by,
        "idempotency_key": approval.idempotency_key,
        "decision": approval.decision,
        "decided_at": approval.decided_at.isoformat(),
        "decided_by_id": approval.decided_by_id,
        "decided_by": approval.decided_by,
        "decided_via": approval.decided_via,
        "deny_reason": approval.deny_reason,
        "step_up": approval.step_up,
        "evidence_digest": approval.evidence_digest,
    }
    return hmac.digest(b64decode(settings.SEAL_KEY), b"agentvalet.decision.v1\0" + canonical_form(statement), "sha256")


def check_seal(approval: ApprovalRequest) -> None:
    """Make sure that the decision on the row was taken through this server.

    Raises:
        Tampered: there is no seal, or it is not that of this decision.
    """
    if approval.seal is None or not hmac.compare_digest(bytes(approval.seal), seal_of(approval)):
        raise Tampered("the seal is not that of the decision")
