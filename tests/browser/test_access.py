"""What the walk does not come across: the queue in the middle of everything, and a form that was refused."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.rules import NARROW, everywhere, measured
from tests.pages.scene import Scene

pytestmark = pytest.mark.browser

HOSTILE = [
    {"w" * 3000: "w" * 3000},
    {"text": "🂡" * 500 + "文" * 500},
    {"text": "a" + "\u0301" * 500},
    {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]]]]]]]]]},
]


def test_the_queue_in_all_its_states(scene: Scene, open_page: OpenPage) -> None:
    scene.submit({"n": 1}, now=timezone.now() - timedelta(seconds=560))
    second, failing = (scene.submit({"text": f"{'long' * 80} {n}\u202e\nnext"}, reason="x" * 400) for n in range(2))
    for data in HOSTILE:
        scene.submit(data, reason="r" * 500)
    page = open_page("/approvals", expected="409")
    scene.approve(scene.submit({"n": 7}))
    scene.approve(second)
    page.locator(f'[data-card="{second.pk}"]').get_by_role("button", name="Deny").click()
    expect(page.locator("[data-note]")).to_be_visible()
    scene.approve(failing)
    scene.fail(failing, "the platform did not answer in time.")
    page.clock.fast_forward(5000)
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_text("Processing…").first).to_be_visible()
    summaries = page.locator("summary.card-summary")
    for summary in summaries.all():
        summary.click()
        assert measured(page, NARROW) == []
        summary.click()
    summaries.last.click()
    assert everywhere(page) == []


def test_a_refused_sign_in(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/sign-in", member=None)
    page.get_by_label("E-mail").fill("admin@acme.example")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is not right.")
    expect(page.get_by_label("E-mail")).to_have_value("admin@acme.example")
    assert everywhere(page) == []
