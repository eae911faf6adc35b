"""What pages of other apps show of push notifications: the card on /settings, the banner on /approvals."""

from typing import Any

from django import template
from django.http import HttpRequest
from django.middleware.csrf import get_token

from agents.device_names import name_of
from notifications.devices import PushDevice
from notifications.push import application_server_key

register = template.Library()


@register.inclusion_tag("settings/_push_devices.html", takes_context=True)
def push_devices(context: template.Context) -> dict[str, Any]:
    """The member's devices, and the form that adds this one."""
    return _offer(context["request"])


@register.inclusion_tag("approvals/_push_banner.html", takes_context=True)
def push_banner(context: template.Context) -> dict[str, Any]:
    """An offer, hidden: the script shows it where notifications are possible, not on, and were not declined."""
    return _offer(context["request"])


def _offer(request: HttpRequest) -> dict[str, Any]:
    member = request.member  # type: ignore[attr-defined]  # these pages are behind agents.middleware
    return {
        "request": request,
        "csrf_token": get_token(request),
        "devices": list(PushDevice.objects.of_member(member).order_by("created_at", "pk")),
        "may_decide": member.may_decide,
        "key": application_server_key(),
        "name": name_of(request.headers.get("User-Agent", "")),
    }
