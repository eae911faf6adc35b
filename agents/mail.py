"""E-mail to people (AGENTVALET_EMAIL_URL): plain text, sent at once, never in a transaction."""

import logging
from smtplib import SMTPException
from urllib.parse import urlencode

from django.conf import settings
from django.core.mail import send_mail
from django.urls import reverse

from agents.members import Invited
from agents.reveal import reveal

logger = logging.getLogger(__name__)


def join_link(invited: Invited) -> str:
    """The link of an invitation, under the public URL whatever host was asked."""
    return f"{settings.PUBLIC_URL}{reverse('join')}?{urlencode({'token': invited.token})}"


def send_invitation(invited: Invited) -> bool:
    """Whether a mail server has taken the mail. The token is in it and nowhere else, so nothing tries again."""
    if not settings.EMAIL_IS_SENT:
        return False
    invitation = invited.invitation
    owner, inviter = reveal(invitation.owner.name), reveal(invitation.invited_by.user.email)
    body = (
        f"{inviter} invites you to {owner} on AgentValet, as {invitation.role}.\n\n"
        f"{join_link(invited)}\n\n"
        "The link is for you alone, works once, and for 72 hours. If you do not expect it, do nothing.\n"
    )
    try:
        return bool(send_mail(f"Invitation to {owner} on AgentValet", body, None, [invitation.email]))
    except (OSError, SMTPException) as error:
        logger.warning("an invitation could not be mailed: %s", type(error).__name__)
        return False
