"""Magic links: the message that takes one to a delegate, and what stands behind it when it comes back."""

import logging
import re
from datetime import datetime
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.utils import timezone

from agents.delegate_model import Delegate
from agents.onetime import hash_of, new_secret
from agents.reveal import mark
from approvals.link_tokens import MagicLink
from approvals.models import ApprovalRequest, Decision
from approvals.step_up import is_demanded_of
from approvals.telling import TITLE, full_name, one_line
from notifications import outbox
from notifications.deliveries import Delivery

logger = logging.getLogger(__name__)

_PREFIX = "lnk"
_MAX_TOKEN = 200
# What mail programs make links of by themselves: schemes, mailboxes, names of hosts (with any dot that IDNA takes for
# one), shares. Numbers of hosts have a pattern of their own: versions have dots, too.
_LINK_LIKE = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})|(?<=\w)[\u3002\uff0e\uff61\u2024](?=\w)|:(?=//)|@|\\(?=\\)")
_ADDRESS = re.compile(r"(?<![\w.])\d{1,10}(?:\.\d{1,10}){3}(?![\w.])")
_NO_DELEGATE = "The delegate was removed or is not active."
_BROKE_OFF = "The mail server broke off: the message may have arrived."
_NOT_MADE = "The message could not be put together; the server's log says why."
_NO_SERVER = "No mail server is set up: the message stays on this server."


class MayHaveArrived(Exception):
    """The mail server was lost in the middle: nobody knows whether it has the message."""


class DeadLink(Exception):
    """Unknown, of a call that has expired, or of a delegate who is none any more: nobody is told which."""


def mail(*, delivery_id: int, now: datetime) -> None:
    """Send one message with a link of its own, if it is still to be sent, and write down what came of it."""
    delivery = outbox.claim(delivery_id=delivery_id, now=now)
    if delivery is None:
        return
    owner_id = delivery.notification.owner_id
    delegate = Delegate.objects.filter(pk=delivery.target, owner_id=owner_id, is_active=True).first()
    if delegate is None:
        outbox.give_up(delivery, failure=_NO_DELEGATE)
        return
    try:
        _send(delivery, delegate)
    except Exception as error:  # noqa: BLE001 - whatever it is, the card says so, and it has an end
        failure, for_good = _what_failed(error, delivery)
        if for_good:
            outbox.give_up(delivery, failure=failure)
        else:
            outbox.failed(delivery, failure=failure, now=timezone.now())
        return
    if settings.EMAIL_IS_SENT:
        outbox.arrived(delivery, now=timezone.now())
    else:
        outbox.give_up(delivery, failure=_NO_SERVER)


def _what_failed(error: Exception, delivery: Delivery) -> tuple[str, bool]:
    """One sentence, and whether to leave it at that. What may have arrived is sent once more only."""
    match error:
        case SMTPRecipientsRefused():
            codes = sorted(code for code, _ in error.recipients.values())
            return f"The mail server refused the address ({', '.join(map(str, codes))}).", codes[0] >= 500
        case MayHaveArrived():
            return _BROKE_OFF, delivery.attempts > 1
        case OSError():  # SMTPException among them
            logger.warning("a message to a delegate was not sent: %s", type(error).__name__)
            return "The mail server did not take the message.", False
    logger.error("message %s to a delegate could not be put together", delivery.pk, exc_info=error)
    return _NOT_MADE, False


def _send(delivery: Delivery, delegate: Delegate) -> None:
    """Raises MayHaveArrived, OSError (SMTPException among them), ValueError for a sender's address that is none."""
    approval = ApprovalRequest.objects.for_owner(delegate.owner).get(
        pk=UUID(delivery.notification.tag.partition(":")[2])
    )
    token = new_secret(_PREFIX)
    connection = get_connection()
    message = EmailMessage(
        subject=f"{TITLE}: {_agent(approval)} → {_called(approval)}",
        body=_words(approval, delegate, token),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[delegate.email],
        headers={"Auto-Submitted": "auto-generated"},  # RFC 3834: no holiday replies
        connection=connection,
    )
    connection.open()
    try:
        MagicLink.objects.create(
            approval=approval, delegate=delegate, token_hash=hash_of(token), created_at=timezone.now()
        )
        message.send()
    except (SMTPServerDisconnected, TimeoutError) as error:
        raise MayHaveArrived from error
    finally:
        connection.close()


def _agent(approval: ApprovalRequest) -> str:
    """Who asks, with nothing in the name that a mail program makes a link of."""
    return unlinked(full_name(approval.agent_name, approval.agent.parent.name if approval.agent.parent else ""))


def _called(approval: ApprovalRequest) -> str:
    return f"{one_line(approval.platform)}/{one_line(approval.scope)}"


def unlinked(text: str) -> str:
    """`text` with what would make it a link marked: schemes, mailboxes, names and numbers of hosts, shares."""
    text = _ADDRESS.sub(lambda found: found[0].replace(".", mark(".")), text)
    return _LINK_LIKE.sub(lambda found: mark(found[0]), text)


def _words(approval: ApprovalRequest, delegate: Delegate, token: str) -> str:
    """One paragraph and one link. Nothing of what is in the call: the page shows all of it."""
    does = "approve or deny it; the link decides once, so do not pass it on"
    if is_demanded_of(delegate, approval):
        does = "have somebody decide who is signed in with a passkey; the link shows it and decides nothing"
    return (
        f"The agent {_agent(approval)} of {unlinked(one_line(delegate.owner.name))} asks to call {_called(approval)}."
        f" It is made only if somebody approves it by {approval.expires_at:%Y-%m-%d %H:%M} UTC."
        f" Read the whole call, then {does}:\n\n"
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
