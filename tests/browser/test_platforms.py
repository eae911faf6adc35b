"""The pages about platforms in a real browser: everybody can use them, and a person connects, tests and disconnects."""

import pytest
from playwright.sync_api import expect

from platforms.models import Connection, Platform, Scope
from tests.browser.conftest import OpenPage
from tests.browser.test_access import LOOKS, check, profile
from tests.browser.test_desk import targets_are_large_enough
from tests.pages.scene import Scene
from tests.world import make_connection, new_token

pytestmark = pytest.mark.browser


def fill(scene: Scene) -> None:
    """Several connections, one with a long name, an identity and a hint, one that is refused."""
    Platform.objects.update(category="Communication", test_call={"method": "GET", "endpoint": "/me", "identity": {}})
    second = make_connection(scene.platform, new_token(), label="Billing " * 20, default=False)
    Connection.objects.filter(pk=second.pk).update(
        status="reauth_needed",
        require_approval=True,
        hint="For invoices and nothing else. " * 10,
        identity={"display_name": "Robot " * 20, "email": "robot@acme.example", "account_id": "U" * 60},
    )
    Scope.objects.update(covers="Posts messages, and deletes them. " * 5, step_up="passkey")
    scene.add_platform("z" * 63, base_url=f"https://{'x' * 60}.example.com/{'y' * 80}", connection="org", scopes={})


@LOOKS
@pytest.mark.parametrize("role", ["admin", "auditor"])
def test_everybody_can_use_the_pages(scene: Scene, open_page: OpenPage, width: int, scheme: str, role: str) -> None:
    fill(scene)
    page = open_page("/platforms", member=getattr(scene, role), **profile(width, scheme))
    paths = ["/platforms", "/platforms/acme-chat", f"/platforms/{'z' * 63}"]
    if role == "admin":
        paths += ["/catalogue/shopify", "/catalogue/custom", "/platforms/acme-chat/connect"]
        paths += [f"/connections/{scene.connection.pk}/{verb}" for verb in ("reauth", "disconnect")]
    for path in paths:
        page.goto(path)
        for summary in page.locator("main summary:visible").all():
            summary.click()
        check(page)
        if width < 700:
            targets_are_large_enough(page)


@pytest.mark.parametrize("script", [True, False])
def test_connecting_changing_and_disconnecting(scene: Scene, open_page: OpenPage, script: bool) -> None:
    page = open_page("/platforms", java_script_enabled=script)
    page.get_by_role("link", name="Custom platform").click()
    page.get_by_label("Name", exact=True).fill("Wiki")
    page.get_by_label("Platform id").fill("wiki")
    page.get_by_label("Base URL").fill("https://wiki.example.com/api")
    page.get_by_label("Scope").fill("pages:read")
    page.get_by_label("Rules").fill("GET /pages/**")
    page.get_by_role("button", name="Make the platform").click()
    expect(page.get_by_role("heading", name="Connect Wiki")).to_be_visible()
    page.get_by_label("Credential").fill("wiki-token-1234567890")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("status")).to_contain_text("Wiki is connected.")
    expect(page.locator("main")).not_to_contain_text("wiki-token")

    page.locator("summary", has_text="Edit Main").click()
    page.get_by_label("Hint").fill("For the handbook.")
    page.get_by_label("Require human approval per request on this connection").check()
    page.get_by_role("button", name="Save : Main").click()
    expect(page.get_by_text("every call waits for a person")).to_be_visible()
    expect(page.get_by_text("“For the handbook.”")).to_be_visible()

    page.get_by_role("link", name="Disconnect : wiki Main").click()
    expect(page.get_by_text("No agent loses access.")).to_be_visible()
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("status")).to_contain_text("its credential destroyed")
    assert not Connection.objects.filter(platform__slug="wiki").exists()
