"""The lines of `/approvals/history`, ready for a template."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils.safestring import SafeString

from agents.reveal import reveal_html
from approvals.models import ApprovalRequest
from approvals.presentation import STATE_NAMES, CardState, failure_of, state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One approval that has ended, revealed. `note` says why it failed, why it was denied, or what a person found."""

    approval: ApprovalRequest
    state: CardState
    state_name: str
    agent_name: SafeString
    platform: SafeString
    scope: SafeString
    note: SafeString


def make_rows(*, approvals: Iterable[ApprovalRequest], now: datetime) -> list[Row]:
    """In the given order. No query."""
    return [_make_row(approval, state_of(approval, now)) for approval in approvals]


def _make_row(approval: ApprovalRequest, state: CardState) -> Row:
    note = failure_of(approval) or (reveal_html(approval.deny_reason) if approval.deny_reason else SafeString(""))
    if approval.outcome_found:
        note = reveal_html(f"{approval.get_outcome_found_display()}, as {approval.outcome_checked_by} found.")
    return Row(
        approval=approval,
        state=state,
        state_name=STATE_NAMES[state],
        agent_name=reveal_html(approval.agent_name),
        platform=reveal_html(approval.platform),
        scope=reveal_html(approval.scope),
        note=note,
    )
