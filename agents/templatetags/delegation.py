"""The card **Approval delegation**."""

from typing import Any

from django import template
from django.conf import settings
from django.middleware.csrf import get_token

from agents.delegate_model import Delegate

register = template.Library()


@register.inclusion_tag("settings/_delegates.html", takes_context=True)
def delegation(context: template.Context) -> dict[str, Any]:
    """The owner's delegates; admins change them, others read."""
    request = context["request"]
    return {
        "request": request,
        "csrf_token": get_token(request),
        "delegates": list(Delegate.objects.for_owner(request.member.owner).order_by("created_at", "pk")),
        "may_administer": request.member.may_administer,
        "is_mail_sent": settings.EMAIL_IS_SENT,
    }
