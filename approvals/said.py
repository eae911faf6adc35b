"""The word back to whoever has decided: one line with the call and a link to it, said once, on the page or after it."""

from urllib.parse import urlencode

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.reveal import reveal_html
from approvals.call_display import read_action
from approvals.models import ApprovalRequest, Decision


def line_of(approval: ApprovalRequest) -> SafeString:
    """ "Approved: POST /api/messages of deploy-bot. The call is on its way. View call", revealed and escaped.

    `approval` has its `form`; where that cannot be read, the call is named by platform and scope.
    """
    named = read_action(approval) or reveal_html(f"{approval.platform} {approval.scope}")
    is_approved = approval.decision == Decision.APPROVED
    context = {
        "approval": approval,
        "call": format_html("{} of {}", named, reveal_html(approval.agent_name)),
        "so_far": "The call is on its way." if is_approved else "Nothing was sent.",
    }
    return SafeString(render_to_string("approvals/_said_line.html", context).strip())


def line_of_several(denied: list[ApprovalRequest]) -> SafeString:
    """The same for calls of one agent that were denied together; the link leads to the agent's in the history."""
    history = f"{reverse('approval-history')}?{urlencode({'state': 'denied', 'agent': denied[0].agent_id})}"
    return format_html('Denied {} calls. Nothing was sent. <a href="{}">View calls</a>', len(denied), history)
