"""What changed against the last approved call of the same kind: the lines that went, and those that came."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from typing import NamedTuple
from uuid import UUID

from django.db.models.functions import Length
from django.utils.safestring import SafeString

from agents.masking import in_address, revealed
from agents.reveal import reveal_html
from approvals.binding import Form, Tampered, check_row, check_seal
from approvals.models import ApprovalRequest, Decision
from approvals.payload import PLAIN_FROM, lay_out_small
from approvals.payload_kinds import Kind, kind_of
from platforms.endpoints import Rule, covers, parse_rule
from platforms.models import Scope

MOST_LOOKED_AT = 50  # earlier calls under the scope, the newest first
MOST_COMPARED = 200  # lines of one call; comparing takes their square
LONGEST = 2 * PLAIN_FROM  # bytes of a stored call that is looked at
AROUND = 2  # lines that stay the same, around each change


class _Line(NamedTuple):
    indent: str
    html: SafeString
    key: str  # what it is compared by


class Change(NamedTuple):
    """One line: `sign` is "+" for one that came, "-" for one that went, "" for one that stayed, "…" for a cut."""

    sign: str
    indent: str
    html: SafeString


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """`earlier` is what it is compared with; where there are no `lines`, `sentence` says why."""

    sentence: str
    earlier: ApprovalRequest | None
    lines: list[Change]


def changes_of(approval: ApprovalRequest, *, now: datetime) -> Changes | None:
    """None where the row is not what was asked for. Three queries.

    Of the same kind: by the same agent, with the same connection, scope and method, to the same path but for what
    changes from call to call. An earlier row counts only if its call and its decision are what this server wrote.
    """
    try:
        form = check_row(approval)
    except Tampered:
        return None
    sizes = _earlier(approval, approval.decided_at or now)
    short = [pk for pk, size in sizes if size < LONGEST]
    rows = ApprovalRequest.objects.filter(pk__in=short).order_by("-executed_at", "-pk")
    rules = _rules(approval)
    kind = _kind(form, rules)
    for row in rows.defer("result_json", "execution_error"):
        before = _sound_form(row)
        if before is not None and _kind(before, rules) == kind:
            return compare(row, before, form)
    if len(sizes) < MOST_LOOKED_AT and len(short) == len(sizes):
        return Changes(sentence="First call of this kind.", earlier=None, lines=[])
    sentence = f"None of the last {len(sizes)} calls under this scope can be compared with it."
    return Changes(sentence=sentence, earlier=None, lines=[])


def _earlier(approval: ApprovalRequest, before: datetime) -> list[tuple[UUID, int]]:
    """What was approved and made before, the newest first: id, and bytes of the stored call."""
    rows = ApprovalRequest.objects.filter(
        owner_id=approval.owner_id,
        agent_id=approval.agent_id,
        platform=approval.platform,
        scope=approval.scope,
        connection_id=approval.connection_id,
        decision=Decision.APPROVED,
        execution_started_at__isnull=False,
        executed_at__lt=before,
        outcome_unknown=False,
    ).exclude(pk=approval.pk)
    sizes = rows.order_by("-executed_at", "-pk").values_list("pk", Length("form"))
    return list(sizes[:MOST_LOOKED_AT])


def _sound_form(row: ApprovalRequest) -> Form | None:
    try:
        check_seal(row)
        return check_row(row)
    except Tampered:
        return None


def _rules(approval: ApprovalRequest) -> list[Rule]:
    scopes = Scope.objects.filter(
        platform__owner_id=approval.owner_id, platform__slug=approval.platform, name=approval.scope
    )
    return [parse_rule(rule) for rule in scopes.values_list("rules", flat=True).first() or []]


def _kind(form: Form, rules: list[Rule]) -> tuple[str, tuple[str, ...]]:
    """Method, and the scope's pattern for the path; without one that is exact, the path without its identifiers."""
    path = form.endpoint.partition("?")[0]
    rule = next((rule for rule in rules if covers([rule], method=form.method, path=path)), None)
    if rule is not None and "**" not in rule.segments:
        return form.method, rule.segments
    segments = path.removeprefix("/").split("/")
    return form.method, tuple("*" if any(sign.isdigit() for sign in segment) else segment for segment in segments)


def compare(row: ApprovalRequest, before: Form, after: Form) -> Changes:
    """`before` is the call of `row`."""
    old, new = _lines(before), _lines(after)
    if old is None or new is None:
        return Changes(sentence="It is too long to be compared here.", earlier=row, lines=[])
    lines = list(_differences(old, new))
    return Changes(sentence="" if lines else "No line of it differs.", earlier=row, lines=lines)


def _lines(form: Form) -> list[_Line] | None:
    """What is sent, as pages show it, the secrets covered; None for more lines than are compared."""
    sent_with = (form.placement, *(f"{name}: {text}" for name, text in form.headers.items()))
    call = f"{form.method} {form.url}"
    heads = [revealed(call, in_address(call)), *map(reveal_html, (*sent_with, form.content_type))]
    lines = [_Line("", html, html) for html in heads]
    if form.body is not None:
        kind = kind_of(form.content_type)
        payload = lay_out_small(form.body, kind, most_lines=MOST_COMPARED)
        if payload is None:
            return None
        # The comma at the end of a member comes and goes with the member below.
        comma = "," if kind == Kind.JSON else ""
        lines += [_Line(line.indent, line.html, line.html.removesuffix(comma)) for line in payload.lines]
    return lines


def _differences(old: Sequence[_Line], new: Sequence[_Line]) -> Iterator[Change]:
    shown = 0  # lines of `old` that have been dealt with
    matcher = SequenceMatcher(
        None, [line.indent + line.key for line in old], [line.indent + line.key for line in new], autojunk=False
    )
    for group in matcher.get_grouped_opcodes(AROUND):
        yield from _cut(group[0][1] - shown)
        for tag, old_from, old_to, new_from, new_to in group:
            stays = tag == "equal"
            yield from (Change("" if stays else "-", line.indent, line.html) for line in old[old_from:old_to])
            yield from (Change("+", line.indent, line.html) for line in ([] if stays else new[new_from:new_to]))
        shown = group[-1][2]
    if shown:
        yield from _cut(len(old) - shown)


def _cut(count: int) -> Iterator[Change]:
    if count:
        lines = "1 line" if count == 1 else f"{count} lines"
        yield Change("…", "", SafeString(f"{lines} that did not change"))
