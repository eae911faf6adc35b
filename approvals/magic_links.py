"""Magic links: the message that takes one to a delegate, and what stands behind it when it comes back."""

import logging
import re
from datetime import datetime
from smtplib import SMTPException, SMTPRecipientsRefused
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from agents.delegate_model import Delegate
from agents.onetime import hash_of, new_secret
from agents.reveal import mark
from approvals.link_tokens import MagicLink
from approvals.models import ApprovalRequest, Decision
from approvals.telling import TITLE, full_name, one_line
from notifications import outbox

logger = logging.getLogger(__name__)

_PREFIX = "lnk"
_MAX_TOKEN = 200
# What mail programs make links of by themselves: schemes, mailboxes, names of hosts.
_LINK_LIKE = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})|:(?=//)|@")
_NO_DELEGATE = "The delegate was removed or is not active."


class DeadLink(Exception):
    """Unknown, of a call that has expired, or of a delegate who is none any more: nobody is told which."""


def mail(*, delivery_id: int, now: datetime) -> None:
    """Send one message with a link of its own, if it is still to be sent, and write down what came of it."""
    delivery = outbox.claim(delivery_id=delivery_id, now=now)
    if delivery is None:
        return
    line = delivery.notification
    delegate = Delegate.objects.filter(pk=delivery.target, owner_id=line.owner_id, is_active=True).first()
    if delegate is None:
        outbox.give_up(delivery, failure=_NO_DELEGATE)
        return
    approval = ApprovalRequest.objects.for_owner(delegate.owner).get(pk=UUID(line.tag.partition(":")[2]))
    token = new_secret(_PREFIX)
    MagicLink.objects.create(approval=approval, delegate=delegate, token_hash=hash_of(token), created_at=now)
    message = EmailMessage(
        subject=f"{TITLE}: {line.body}",
        body=_words(approval, delegate, token),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[delegate.email],
        headers={"Auto-Submitted": "auto-generated"},  # RFC 3834: no holiday replies
    )
    try:
        message.send()
    except SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        failure = f"The mail server refused the address ({', '.join(map(str, sorted(codes)))})."
        if min(codes) >= 500:
            outbox.give_up(delivery, failure=failure)
        else:
            outbox.failed(delivery, failure=failure, now=timezone.now())
    except (SMTPException, OSError) as error:
        logger.warning("a message to a delegate was not sent: %s", type(error).__name__)
        outbox.failed(delivery, failure="The mail server did not take the message.", now=timezone.now())
    else:
        outbox.arrived(delivery, now=timezone.now())


def _words(approval: ApprovalRequest, delegate: Delegate, token: str) -> str:
    """One paragraph and one link. Nothing of what is in the call: the page shows all of it."""
    parent = approval.agent.parent.name if approval.agent.parent else ""
    names = (full_name(approval.agent_name, parent), one_line(delegate.owner.name))
    agent, owner = (_LINK_LIKE.sub(lambda found: mark(found[0]), name) for name in names)
    return (
        f"The agent {agent} of {owner} asks to call {one_line(approval.platform)}/{one_line(approval.scope)}."
        f" It is made only if somebody approves it by {approval.expires_at:%Y-%m-%d %H:%M} UTC."
        " Read the whole call, then approve or deny it; the link decides once, so do not pass it on:\n\n"
        f"{settings.PUBLIC_URL}/approve?token={token}\n"
    )


def follow(*, token: str, now: datetime) -> tuple[ApprovalRequest, Delegate]:
    """The call and the delegate behind a link. Reads only; the call may be decided by now.

    Raises:
        DeadLink: see there.
    """
    if not token or len(token) > _MAX_TOKEN:
        raise DeadLink
    found = (
        MagicLink.objects.filter(token_hash=hash_of(token), delegate__is_active=True)
        .select_related("approval", "delegate__owner")
        .defer("approval__result_json", "approval__disclosure")
        .first()
    )
    if found is None or found.delegate.owner_id != found.approval.owner_id:
        raise DeadLink
    approval = found.approval
    if approval.decision == Decision.EXPIRED or (approval.decision == Decision.PENDING and now >= approval.expires_at):
        raise DeadLink
    return approval, found.delegate
