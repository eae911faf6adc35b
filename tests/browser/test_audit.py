"""The audit log in a real browser: a row opens and closes in place, and rows leave as files."""

import pytest
from django.db import transaction
from django.utils import timezone
from playwright.sync_api import expect

from audit.checkpoints import checkpoint_moved_chains
from audit.events import Actor, Event, Result
from audit.records import record
from tests.browser.conftest import OpenPage
from tests.pages.scene import Scene

pytestmark = pytest.mark.browser


def fill(scene: Scene) -> None:
    """Rows of every kind, one of them as long and as hostile as a row can be."""
    approval = scene.approve(scene.submit({"text": "Hello"}, reason="Announce"))
    scene.fail(approval, "the platform did not answer in time.")
    for result in Result:
        with transaction.atomic():
            record(
                event=Event.ACTION_DENIED,
                result=result,
                owner_id=scene.owner.pk,
                actor=Actor("agent", scene.agent.pk, "w" * 290),
                now=timezone.now(),
                agent_id=scene.agent.pk,
                agent_name="n" * 200 + "\u202e",
                platform="p" * 63,
                action="a" * 128,
                reason="r" * 1900,
                session_id="s" * 128,
                metadata={"k" * 300: "v" * 3000, "text": "line\nbreak\u202e"},
            )
    checkpoint_moved_chains(now=timezone.now())


def test_a_row_opens_and_closes_in_place(scene: Scene, open_page: OpenPage) -> None:
    fill(scene)
    page = open_page("/audit")
    toggle = page.locator("[data-open]").last
    expect(toggle).to_have_attribute("aria-expanded", "false")
    toggle.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("The whole story of this request")).to_be_visible()
    expect(page.locator(".story-row")).to_have_count(3)
    expect(toggle).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_text("The whole story of this request")).to_have_count(0)
    page.locator(".log-action").last.click()
    expect(page.locator(".story-row")).to_have_count(3)
    expect(page).to_have_url(f"{page.url.split('/audit')[0]}/audit")


def test_without_javascript_a_row_is_a_link_and_check_now_a_form(scene: Scene, open_page: OpenPage) -> None:
    fill(scene)
    page = open_page("/audit", java_script_enabled=False)
    page.locator("[data-open]").last.click()
    expect(page.get_by_text("The whole story of this request")).to_be_visible()
    page.goto("/audit")
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("status")).to_contain_text("The whole chain is being checked.")


def test_an_export_is_a_download_of_what_is_filtered(scene: Scene, open_page: OpenPage) -> None:
    fill(scene)
    page = open_page("/audit?action=approval.failed")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSONL").click()
    assert download.value.suggested_filename.endswith(".jsonl")
    assert download.value.path().read_text().count("\n") == 1
