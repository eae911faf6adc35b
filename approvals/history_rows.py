"""The lines of `/approvals/history`, ready for a template."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils.safestring import SafeString

from agents.reveal import reveal_html
from approvals.call_display import read_action
from approvals.models import ApprovalRequest
from approvals.presentation import STATE_NAMES, CardState, failure_of, parents_of, state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One approval that has ended, revealed. `note` says why it failed, why it was denied, what a person found, or what
    the platform answered. `action` is method and path; None where the call is long, or cannot be read.
    """

    approval: ApprovalRequest
    state: CardState
    state_name: str
    parent: str  # whose child the agent is, as it was written; "" for nobody's
    platform: SafeString
    scope: SafeString
    action: SafeString | None
    note: SafeString


def make_rows(*, approvals: Iterable[ApprovalRequest], now: datetime) -> list[Row]:
    """In the given order. One query for whose children the agents are."""
    rows = list(approvals)
    parents = parents_of(rows)
    return [_make_row(row, state_of(row, now), parents.get(row.agent_id, "")) for row in rows]


def _make_row(approval: ApprovalRequest, state: CardState, parent: str) -> Row:
    note = failure_of(approval) or (reveal_html(approval.deny_reason) if approval.deny_reason else SafeString(""))
    if approval.outcome_found:
        note = reveal_html(f"{approval.get_outcome_found_display()}, as {approval.outcome_checked_by} found.")
    elif not note and approval.result_status is not None:
        note = SafeString(f"The platform answered {approval.result_status}.")
    return Row(
        approval=approval,
        state=state,
        state_name=STATE_NAMES[state],
        parent=parent,
        platform=reveal_html(approval.platform),
        scope=reveal_html(approval.scope),
        action=None if "form" in approval.get_deferred_fields() else read_action(approval),
        note=note,
    )
