"""Push end to end: what the server sends to a push service is delivered to the real service worker in Chromium.

Chromium's own push service is out of reach, so the page subscribes at ours (tests/fakes/push_service.py), which checks
and decrypts; the plain message goes on to the service worker by way of the DevTools protocol.
"""

import base64
import json
from functools import partial
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, CDPSession, Page, expect
from pytest_django.fixtures import Settings

from approvals.models import ApprovalRequest
from approvals.services import deny
from notifications import outbox, push
from notifications.deliveries import Channel
from notifications.devices import PushDevice
from tests.browser.conftest import OpenPage
from tests.pages.scene import Scene
from tests.push_fixtures import PushService
from tests.runtime.installation import eventually

pytestmark = pytest.mark.browser

SUBSCRIBE = """
([subscription]) => {
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  PushManager.prototype.subscribe = async (options) => {
    window.askedWith = options;
    return { endpoint: subscription.endpoint, options, getKey: (name) => bytes(subscription[name]).buffer };
  };
}
"""
SUBSCRIBED = """
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  PushManager.prototype.getSubscription = async () => (
    { endpoint: "ENDPOINT", options: { applicationServerKey: bytes("KEY").buffer } });
})();
"""
SHOWN = """
async () => (await (await navigator.serviceWorker.ready).getNotifications()).map((one) => ({
  title: one.title, body: one.body, tag: one.tag, silent: one.silent, actions: one.actions.map((action) => action.title),
}))
"""
# A push message for a worker that is still being activated is dropped.
ACTIVATED = """
async () => {
  const { active } = await navigator.serviceWorker.ready;
  while (active.state !== "activated") {
    await new Promise((changed) => active.addEventListener("statechange", changed, { once: true }));
  }
}
"""


class Phone:
    """A browser whose page has subscribed."""

    def __init__(self, page: Page, push_service: PushService) -> None:
        self.page = page
        self.service = push_service
        self.delivered = 0
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.registrations: list[str] = []
        self.session.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: self.registrations.extend(one["registrationId"] for one in event["registrations"]),
        )
        self.session.send("ServiceWorker.enable")

    @property
    def origin(self) -> str:
        return "/".join(self.page.url.split("/")[:3])

    def deliver(self) -> None:
        """Hand on what the push service has got since.

        An ask is handed on until it is shown, three times at most: push services keep a message until the browser has
        acknowledged it (RFC 8030 §5.2), and the DevTools protocol loses one now and then.
        """
        for message in self.service.messages[self.delivered :]:
            for _ in range(3):
                self.session.send(
                    "ServiceWorker.deliverPushMessage",
                    {"origin": self.origin, "registrationId": self.registrations[-1], "data": json.dumps(message)},
                )
                if message["kind"] != "ask" or eventually(partial(self._has, message["tag"]), patience=5):
                    break
            self.delivered += 1

    def _has(self, tag: str) -> bool:
        return any(one["tag"] == tag for one in self.shown())

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(SHOWN)
        return found

    def shows(self, *tags: str) -> bool:
        """Whether exactly these notifications are on the screen, in a moment."""
        return eventually(lambda: sorted(one["tag"] for one in self.shown()) == sorted(tags))


def send_due() -> None:
    now = timezone.now()
    for pk in outbox.due(channel=Channel.PUSH, now=now).values_list("pk", flat=True):
        push.deliver(delivery_id=pk, now=now)


@pytest.fixture
def phone(scene: Scene, open_page: OpenPage, push_service: PushService) -> Phone:
    """Notifications enabled through the offer on /approvals."""
    page = open_page("/approvals", permissions=["notifications"])
    offer = page.get_by_role("complementary", name="Notifications")
    expect(offer).to_be_visible()
    page.evaluate(SUBSCRIBE, [push_service.subscription()])
    phone = Phone(page, push_service)
    with page.expect_navigation():
        offer.get_by_role("button", name="Enable notifications").click()
    expect(page.get_by_text("gets notifications from now on.")).to_be_visible()
    page.evaluate(ACTIVATED)
    return phone


def test_a_call_is_notified_of_and_a_click_opens_its_page(scene: Scene, phone: Phone) -> None:
    device = PushDevice.objects.get()
    assert device.name.startswith("Chrome on ")
    approval = scene.submit({"text": "Hello"})
    send_due()
    phone.deliver()
    assert phone.shows(f"approval:{approval.pk}")
    (shown,) = phone.shown()
    assert (shown["title"], shown["body"]) == ("Approval required", "deploy-bot → acme-chat/chat:write")
    assert (shown["tag"], shown["silent"]) == (f"approval:{approval.pk}", False)
    assert shown["actions"] == ["Approve", "Deny"]

    for action in ("approve", "deny", ""):
        opened = click(phone, action)
        assert opened == [f"{phone.origin}/approvals/{approval.pk}"]
    phone.page.goto(opened[0])
    expect(phone.page.get_by_role("button", name="Approve")).to_be_visible()
    assert ApprovalRequest.objects.get(pk=approval.pk).decision == "pending"  # a notification decides nothing


def test_the_open_page_says_what_arrived_without_being_drawn_anew(
    scene: Scene, open_page: OpenPage, push_service: PushService
) -> None:
    push_service.device(scene.admin)
    approval = scene.submit({"n": 1})
    page = open_page("/approvals")
    page.locator("summary").click()
    told = page.locator(f'[data-told="{approval.pk}"]')
    expect(told).to_contain_text("on its way")
    page.evaluate("() => { document.querySelector('[data-card]').kept = true; }")
    send_due()
    page.clock.run_for(3000)
    expect(told).to_contain_text(": pushed ")
    assert page.evaluate("document.querySelector('[data-card]').kept")


def click(phone: Phone, action: str) -> list[str]:
    """Click on the notification or one of its actions, in the service worker; what it opens.

    The event is ours: a headless Chromium shows its notifications nowhere that could be clicked on, and the DevTools
    protocol delivers pushes (`ServiceWorker.deliverPushMessage`) and has no command for a click. Without a person's
    click Chromium lets no worker open a window, so `openWindow` only says what it was asked for; the test goes there.
    """
    context: BrowserContext = phone.page.context
    (worker,) = context.service_workers
    opened: list[str] = worker.evaluate(
        """async (action) => {
          const opened = [];
          const real = self.clients.openWindow;
          self.clients.openWindow = async (url) => { opened.push(url); return null; };
          const [shown] = await self.registration.getNotifications();
          const waited = [];
          const event = new NotificationEvent("notificationclick", { notification: shown, action });
          event.waitUntil = (promise) => waited.push(promise);
          self.dispatchEvent(event);
          await Promise.all(waited);
          self.clients.openWindow = real;
          await self.registration.showNotification(shown.title, { body: shown.body, tag: shown.tag, data: shown.data });
          return opened;
        }""",
        action,
    )
    return opened


def test_a_decision_elsewhere_takes_the_notification_away(scene: Scene, phone: Phone) -> None:
    approval, other = scene.submit({"n": 1}), scene.submit({"n": 2})
    send_due()
    phone.deliver()
    assert phone.shows(f"approval:{approval.pk}", f"approval:{other.pk}")
    deny(member=scene.approver, approval_id=approval.pk, digest=approval.digest, via="dashboard", now=timezone.now())
    send_due()
    phone.deliver()
    assert phone.shows(f"approval:{other.pk}")


def test_a_message_that_cannot_be_read_leads_to_the_queue(scene: Scene, phone: Phone) -> None:
    message = {"origin": phone.origin, "registrationId": phone.registrations[-1], "data": "<b>no JSON"}

    def is_shown() -> bool:
        phone.session.send("ServiceWorker.deliverPushMessage", message)
        return [one["tag"] for one in phone.shown()] == ["unknown"]

    assert eventually(is_shown)
    assert phone.shown()[0]["body"] == "Something waits for you."


def test_a_subscription_that_ended_by_itself_says_so_once(scene: Scene, phone: Phone) -> None:
    (worker,) = phone.page.context.service_workers
    worker.evaluate(
        """async () => {
          const waited = [];
          const event = new ExtendableEvent("pushsubscriptionchange");
          event.waitUntil = (promise) => waited.push(promise);
          self.dispatchEvent(event);
          await Promise.all(waited);
        }"""
    )
    (shown,) = phone.shown()
    assert (shown["title"], shown["actions"]) == ("Notifications have ended on this device", [])


def test_the_offer_comes_back_when_the_server_has_a_new_key(
    scene: Scene, open_page: OpenPage, push_service: PushService, settings: Settings
) -> None:
    device = push_service.device(scene.admin)
    page = open_page("/approvals", permissions=["notifications"])
    page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    subscribed = SUBSCRIBED.replace("ENDPOINT", device.endpoint).replace("KEY", push.application_server_key())
    page.add_init_script(subscribed)
    offer = page.get_by_role("complementary", name="Notifications")
    for key, is_offered in ((settings.VAPID_KEY, False), (base64.b64encode(b"k" * 32).decode(), True)):
        settings.VAPID_KEY = key
        page.goto("/settings")
        expect(page.get_by_text("This device", exact=True)).to_be_visible()  # the script has run
        expect(page.get_by_role("button", name="Enable notifications on this device")).to_be_visible(visible=is_offered)
        page.goto("/approvals")
        expect(offer).to_be_visible(visible=is_offered)


def test_the_offer_is_not_made_twice(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/approvals", permissions=["notifications"])
    offer = page.get_by_role("complementary", name="Notifications")
    offer.get_by_role("button", name="Not now").click()
    expect(offer).to_be_hidden()
    page.reload()
    expect(page.get_by_text("✓ No pending approvals")).to_be_visible()
    expect(offer).to_be_hidden()


def test_offline_says_so(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/approvals", expected="ERR_INTERNET_DISCONNECTED")
    page.evaluate("async () => { await navigator.serviceWorker.ready; }")
    page.reload()  # from now on the service worker stands in between
    page.context.set_offline(True)
    page.goto("/agents")
    expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="Pending Approvals")).to_be_visible()
