"""Passkeys in a real Chromium with a virtual authenticator: registered, approved with on a phone, checked offline."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.conf import settings as project
from django.db import transaction
from django.utils import timezone
from playwright.sync_api import Page, Route, expect
from pytest_django.fixtures import Settings

from approvals.execution import execute
from approvals.models import ApprovalRequest, Decision
from approvals.rows import next_version
from platforms.models import Scope
from tests.browser.conftest import OpenPage
from tests.pages.scene import PASSWORD, Scene, signed_in
from tests.world import CountingPlatform, change_platform

pytestmark = pytest.mark.browser

PHONE: dict[str, Any] = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "user_agent": "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0 Mobile Safari/537.36",
}


class Device:
    """A virtual authenticator in the page's browser."""

    def __init__(self, page: Page) -> None:
        self.session = page.context.new_cdp_session(page)
        self.session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        self.id = self.session.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    def verifies(self, yes: bool) -> None:
        self.session.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": yes})


@pytest.fixture
def phone(
    site: str, scene: Scene, settings: Settings, open_page: OpenPage, platform: CountingPlatform
) -> Callable[..., tuple[Page, Device]]:
    """A phone on the settings page whose owner has registered a passkey there."""
    settings.PUBLIC_URL = site
    change_platform(scene.platform, base_url=platform.url)

    def registered(**profile: Any) -> tuple[Page, Device]:
        page = open_page("/settings", confirmed=False, **PHONE | profile)
        device = Device(page)
        page.get_by_label("Your password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm", exact=True).click()
        page.get_by_label("Label").fill("Pixel")
        page.get_by_role("button", name="Register").click()
        expect(page.get_by_text("The passkey Pixel is registered.")).to_be_visible()
        return page, device

    return registered


def row(approval: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=approval.pk)


def test_approved_on_a_phone_run_by_the_worker_and_proved_offline(
    scene: Scene, phone: Callable[..., tuple[Page, Device]], platform: CountingPlatform, tmp_path: Path
) -> None:
    Scope.objects.update(step_up="passkey")
    approval = scene.submit({"text": "Hello"})
    page, _ = phone()
    page.goto("/approvals")
    expect(page).to_have_url(f"{project.PUBLIC_URL}/m/approvals")
    page.get_by_role("link", name="deploy-bot").click()
    expect(page).to_have_url(f"{project.PUBLIC_URL}/m/approvals/{approval.pk}")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("[data-actions] button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    page.get_by_role("button", name="Approve with biometric").tap()
    expect(page.locator("[data-card]")).to_have_attribute("data-state", "processing")
    assert (row(approval).decision, row(approval).decided_via) == (Decision.APPROVED, "passkey")
    execute(approval_id=approval.pk, now=timezone.now())
    assert len(platform.requests) == 1
    assert row(approval).execution_error is None
    page.goto(f"/m/approvals/{approval.pk}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the signed receipt").click()
    download.value.save_as(tmp_path / "receipt.json")
    keys = page.request.get("/.well-known/agentvalet-receipt-keys.json")
    (tmp_path / "keys.json").write_bytes(keys.body())
    command = [sys.executable, "-m", "approvals.verify_receipt", "--keys", str(tmp_path / "keys.json")]
    checked = subprocess.run(
        [*command, str(tmp_path / "receipt.json")],
        cwd=project.BASE_DIR, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.stdout.endswith("The receipt is valid.\n"), checked.stdout
    assert "ok      assertion: user verified" in checked.stdout


def test_somebody_whom_the_device_does_not_know_decides_nothing(
    scene: Scene, phone: Callable[..., tuple[Page, Device]]
) -> None:
    approval = scene.submit({"text": "Hello"})
    page, device = phone()
    device.verifies(False)
    page.goto(f"/m/approvals/{approval.pk}")
    page.get_by_role("button", name="Approve with biometric").tap()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was done.")
    assert row(approval).decision == Decision.PENDING


def test_a_card_that_is_drawn_anew_while_the_device_is_asked_decides_nothing(
    scene: Scene, phone: Callable[..., tuple[Page, Device]]
) -> None:
    """The same card serves for the other button then: a denial is signed where nothing demands a signature."""
    approval = scene.submit({"text": "Hello"})
    page, _ = phone()
    page.goto(f"/m/approvals/{approval.pk}")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/deny/options", hold)
    page.get_by_role("button", name="Deny with biometric").tap()
    expect(page.locator("form[data-signing]")).to_have_count(1)
    Scope.objects.update(step_up="passkey")
    with transaction.atomic():
        ApprovalRequest.objects.update(queue_version=next_version(approval.owner_id))
    page.clock.fast_forward(5000)
    expect(page.locator(".approve-form:not(.passkey-form)")).to_have_count(0)
    held[0].continue_()
    expect(page.get_by_role("alert")).to_have_text("The page was drawn anew meanwhile. Nothing was done: try again.")
    assert row(approval).decision == Decision.PENDING
    page.unroute("**/deny/options")
    Scope.objects.update(step_up="")
    page.reload()
    page.get_by_placeholder("Reason for denying (optional)").fill("Not today")
    page.get_by_role("button", name="Deny with biometric").tap()
    expect(page.locator("[data-card]")).to_have_attribute("data-state", "denied")
    denied = row(approval)
    assert (denied.decision, denied.decided_via, denied.deny_reason) == (Decision.DENIED, "passkey", "Not today")


def test_what_the_device_signed_is_good_for_nothing_else(
    scene: Scene, phone: Callable[..., tuple[Page, Device]]
) -> None:
    """The real browser's signature is caught on its way and brought to another row, the other button, an edited row."""
    first, second = scene.submit({"n": 1}), scene.submit({"n": 2})
    page, _ = phone(expected="ERR_FAILED")
    client = signed_in(scene.admin)

    def caught() -> dict[str, str]:
        sent: list[dict[str, str]] = []

        def catch(route: Route) -> None:
            sent.append({name: values[0] for name, values in parse_qs(route.request.post_data or "").items()})
            route.abort()

        page.route("**/approve", catch)
        page.goto(f"/m/approvals/{first.pk}")
        page.get_by_role("button", name="Approve with biometric").tap()
        expect(page.get_by_role("alert")).to_contain_text("The server did not answer.")
        page.unroute("**/approve")
        return sent[0]

    data = caught()
    assert client.post(f"/approvals/{second.pk}/approve", data | {"digest": second.digest}).status_code == 303
    data = caught()
    assert client.post(f"/approvals/{first.pk}/deny", data).status_code == 303
    data = caught()
    ApprovalRequest.objects.filter(pk=first.pk).update(scope="chat:read")
    assert client.post(f"/approvals/{first.pk}/approve", data).status_code == 303
    assert {row(first).decision, row(second).decision} == {Decision.PENDING}


def test_the_passkey_signs_in_without_a_password(scene: Scene, phone: Callable[..., tuple[Page, Device]]) -> None:
    page, _ = phone()
    page.context.clear_cookies()
    page.goto("/sign-in?next=/settings")
    page.get_by_role("button", name="Sign in with a passkey").tap()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
