"""The buttons for push notifications: this device on, a device tested or deleted."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from agents.middleware import MemberRequest
from agents.reveal import reveal
from notifications import devices, outbox
from notifications.devices import PushDevice, Subscription, SubscriptionRefused
from notifications.tasks import wake_push

_BACK_TO = {"approvals": "approvals", "settings": "settings"}


@never_cache
@require_POST
def subscribe(request: MemberRequest) -> HttpResponse:
    """Keep what the browser's PushManager handed out; `static/js/push.js` fills it into the form."""
    try:
        subscription = Subscription.read(
            endpoint=request.POST.get("endpoint", ""),
            p256dh=request.POST.get("p256dh", ""),
            auth=request.POST.get("auth", ""),
        )
        device = devices.subscribe(
            member=request.member,
            subscription=subscription,
            name=request.POST.get("name", ""),
            request_id=request.request_id,
            now=request.now,
        )
    except SubscriptionRefused as error:
        messages.warning(request, str(error))
    else:
        messages.success(request, f"{reveal(device.name)} gets notifications from now on.")
    return _see_other(_BACK_TO.get(request.POST.get("back", ""), "settings"))


@never_cache
@require_POST
def test(request: MemberRequest, device_id: UUID) -> HttpResponse:
    """Push something to the device that is not about anything."""
    try:
        delivery = outbox.test(member=request.member, device_id=device_id, url=reverse("settings"), now=request.now)
    except PushDevice.DoesNotExist as error:
        raise Http404 from error
    wake_push(delivery.pk, owner_id=request.member.owner_id)
    messages.success(request, "A test notification is on its way.")
    return _see_other("settings")


@never_cache
@require_POST
def delete(request: MemberRequest, device_id: UUID) -> HttpResponse:
    try:
        device = devices.forget(
            member=request.member, device_id=device_id, request_id=request.request_id, now=request.now
        )
    except PushDevice.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, f"{reveal(device.name)} gets no more notifications.")
    return _see_other("settings")


def _see_other(name: str) -> HttpResponse:
    """303: to be fetched with GET, whatever was sent here (RFC 9110, section 15.4.4)."""
    return HttpResponse(status=303, headers={"Location": reverse(name)})
