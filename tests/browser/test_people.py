"""The pages about people in a real browser: nothing typed is lost, and dark is by choice, too."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.rules import corners
from tests.pages.scene import PASSWORD, Scene

pytestmark = pytest.mark.browser


def test_what_was_typed_goes_on_after_the_password(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/agents/new")
    page.context.clear_cookies()
    page.goto("/sign-in?next=/agents/new")
    page.get_by_label("E-mail").fill(scene.admin.user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_label("Name").fill("Release bot")
    page.get_by_label("Bind code").check()
    page.get_by_role("button", name="Make the agent").click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm and go on").click()
    expect(page.get_by_role("heading", name="Connect Release bot")).to_be_visible()


def test_dark_by_choice_on_a_light_device(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/settings", color_scheme="light")
    page.get_by_label("Dark").check()
    page.get_by_role("button", name="Save appearance").click()
    expect(page.locator(".panel").first).to_have_css("background-color", "rgb(24, 29, 33)")
    assert corners(page) == []


def test_the_first_call_arrives_while_one_looks(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/set-up/steps")
    told = page.get_by_role("status")
    expect(told).to_have_text("4 of 5 done.")
    page.get_by_role("link", name="Approvals").last.focus()
    scene.submit({"n": 1})
    page.clock.run_for(2500)
    expect(told).to_have_text("5 of 5 done. The first call has arrived.")
    expect(page.get_by_text("deploy-bot called acme-chat chat:write")).to_be_visible()
    expect(page.locator("#step-call")).to_be_focused()
    page.get_by_role("link", name="On record").click()
    expect(page.get_by_text("approval.requested").first).to_be_visible()
