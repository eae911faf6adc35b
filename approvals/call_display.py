"""The call of an approval row and the platform's answer to it, read for a page: whatever is in the row, this stands."""

import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db.models.functions import Length, Substr
from django.utils.safestring import SafeString

from agents.masking import in_address, revealed
from agents.reveal import reveal_html
from approvals.binding import Form, Tampered, check_row, read_form
from approvals.models import ApprovalRequest
from approvals.payload import Payload, as_sent, beginning, lay_out, lay_out_small
from approvals.payload_kinds import Kind, kind_of
from approvals.readings import Reading, read
from approvals.summary import first_line

logger = logging.getLogger(__name__)

ACTION_LENGTH = 80  # characters of the path on the closed card
LISTED_LINES = 200  # of one payload among other cards; a longer one is read, and decided on, on its own page
ANSWER_SHOWN = 64 * 1024  # characters of an answer; the rest is for downloading


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The whole call, revealed. `payload` is None without a body, or where `too_long` says so."""

    is_sound: bool  # digest and columns fit the stored call
    method: SafeString
    url: SafeString
    action: SafeString
    summary: SafeString
    summary_cut: bool
    content_type: SafeString
    headers: list[SafeString]  # those of the platform, the credential's first with a star in its place
    policy_version: SafeString
    query: Payload | None  # the URL's parameters, decoded
    readings: list[Reading]
    payload: Payload | None
    as_sent: Payload | None  # where `payload` is decoded, masked or has white space of its own
    length: int  # characters of the body
    too_long: bool


def read_call(approval: ApprovalRequest, *, listed: bool) -> Call | None:
    """The row's call; None if there is nothing in the row that can be read. `listed`: among other cards."""
    form, is_sound = _stored_form(approval)
    if form is None:
        return None
    try:
        return _lay_out(form, is_sound=is_sound, listed=listed)
    except Exception:
        logger.exception("the call of approval %s cannot be shown", approval.pk)
        return None


def read_action(approval: ApprovalRequest) -> SafeString | None:
    """The `action` of the row's call, without laying out the rest of it; None if it cannot be read."""
    form, _ = _stored_form(approval)
    try:
        return reveal_html(_action(form)) if form else None
    except Exception:
        logger.exception("the call of approval %s cannot be named", approval.pk)
        return None


def read_answer(approval: ApprovalRequest) -> Payload | None:
    """What the agent is told the platform said, from the database: of a long answer only the beginning is read."""
    if approval.executed_at is None:
        return None
    head, length = (
        ApprovalRequest.objects.filter(pk=approval.pk)
        .values_list(Substr("result_json", 1, ANSWER_SHOWN), Length("result_json"))
        .get()
    )
    if not head:
        return None
    return lay_out(head, Kind.JSON) if length == len(head) else beginning(head, Kind.JSON, length=length)


def body_of(approval: ApprovalRequest) -> str | None:
    """The exact text of the request body, as stored; None if there is none."""
    form, _ = _stored_form(approval)
    return form.body if form else None


def _stored_form(approval: ApprovalRequest) -> tuple[Form | None, bool]:
    """The form, and whether it is what was asked for. One that is not is for looking only: nobody decides on it."""
    try:
        return check_row(approval), True
    except Tampered:
        pass
    except Exception:
        logger.exception("approval %s cannot be checked", approval.pk)
    try:
        return read_form(bytes(approval.form)), False
    except Exception:  # noqa: BLE001 - this page is where people look at such rows
        return None, False


def _lay_out(form: Form, *, is_sound: bool, listed: bool) -> Call:
    body, kind, query = form.body, kind_of(form.content_type), urlsplit(form.url).query
    summary, summary_cut = ("", False) if body is None else first_line(body, kind)
    payload = None
    if body is not None:
        payload = lay_out_small(body, kind, most_lines=LISTED_LINES) if listed else lay_out(body, kind)
    rebuilt = payload is not None and (payload.is_masked or (bool(payload.lines) and kind != Kind.TEXT))
    return Call(
        is_sound=is_sound,
        method=reveal_html(form.method),
        url=revealed(form.url, in_address(form.url)),
        action=reveal_html(_action(form)),
        summary=reveal_html(summary),
        summary_cut=summary_cut,
        content_type=reveal_html(form.content_type),
        headers=[
            reveal_html(line) for line in (form.placement, *(f"{name}: {text}" for name, text in form.headers.items()))
        ],
        policy_version=reveal_html(form.policy_version),
        query=lay_out_small(query, Kind.FORM, most_lines=LISTED_LINES) if query else None,
        readings=(
            []
            if payload is None or body is None
            else read(body, kind, method=form.method, url=form.url, decode=not listed)
        ),
        payload=payload,
        as_sent=as_sent(body) if rebuilt and body is not None and not listed else None,
        length=len(body or ""),
        too_long=body is not None and payload is None,
    )


def _action(form: Form) -> str:
    """Method and path as the closed card shows them, a cut marked."""
    path = urlsplit(form.url).path or "/"
    return f"{form.method} {path}" if len(path) <= ACTION_LENGTH else f"{form.method} {path[:ACTION_LENGTH]}… (cut)"
