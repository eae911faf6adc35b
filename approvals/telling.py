"""What people are told of a call that waits, where there is no markup: a notification, the subject of an e-mail."""

import re

from agents.reveal import mark, pieces
from approvals.models import ApprovalRequest

TITLE = "Approval required"
MOST_NAME = 60  # characters of a name; the card has the whole one
# The arrow of our own sentence, and what looks like it: an agent must not continue the sentence in its name.
_ARROWS = re.compile("[\u2190-\u21ff\u2794-\u27bf\u27f0-\u27ff\u2900-\u297f\u2b00-\u2bff]")


def tag_of(approval: ApprovalRequest) -> str:
    """What the inbox line and the notifications of this approval go by."""
    return f"approval:{approval.pk}"


def headline(*, agent: str, parent: str, platform: str, scope: str) -> str:
    """Agent, platform and scope on one line, everything hidden or misleading in them marked."""
    return f"{full_name(agent, parent)} → {one_line(platform)}/{one_line(scope)}"


def full_name(agent: str, parent: str) -> str:
    """An agent, and whose child it is: each cut on its own, so that a long name does not push the parent's out."""
    return f"{one_line(agent)} (child of {one_line(parent)})" if parent else one_line(agent)


def one_line(text: str) -> str:
    """`text` revealed, without arrows of its own, a cut marked. Never cut in the middle of a mark."""
    shown, length = "", 0
    for is_mark, piece in pieces(text):
        part = piece if is_mark else _ARROWS.sub(lambda found: mark(found[0]), piece)
        if length + len(part) > MOST_NAME:
            return shown + ("" if is_mark else piece[: MOST_NAME - length]) + "… (cut)"
        shown, length = shown + part, length + len(part)
    return shown
