"""The pages about platforms in a real browser: a person connects, tests and disconnects."""

import pytest
from playwright.sync_api import expect

from platforms.models import Connection
from tests.browser.conftest import OpenPage
from tests.pages.scene import Scene

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("script", [True, False])
def test_connecting_changing_and_disconnecting(scene: Scene, open_page: OpenPage, script: bool) -> None:
    page = open_page("/platforms", java_script_enabled=script, expected="400 (Bad Request)")
    page.get_by_role("link", name="Custom platform").click()
    where = page.get_by_label("The credential goes into")
    for kind, has_name, has_word in (("header", True, True), ("query", True, False), ("bearer", False, False)):
        where.select_option(kind)
        expect(page.get_by_label("Name of that header or parameter")).to_be_visible(visible=has_name)
        expect(page.get_by_label("Word before the credential")).to_be_visible(visible=has_word)
    page.get_by_label("Name", exact=True).fill("Wiki")
    page.get_by_label("Platform id").fill("wiki")
    page.get_by_label("Base URL").fill("https://wiki.example.com/api")
    page.get_by_label("Scope").fill("pages:read")
    page.get_by_label("Rules").fill("FETCH /pages")
    page.get_by_role("button", name="Make the platform").click()
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("alert").get_by_role("link", name="Rules").click()
    expect(page.get_by_label("Rules")).to_be_focused()
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
