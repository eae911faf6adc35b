"""Everybody can use the pages: axe's rules in light and dark, no sideways scrolling, targets for fingers."""

from datetime import timedelta
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page, expect

from approvals.services import send_again
from tests.browser.conftest import OpenPage
from tests.pages.scene import Scene

pytestmark = pytest.mark.browser

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
LOOKS = pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")])


def check(page: Page) -> None:
    report = Axe().run(page, options=RULES)
    assert [(found["id"], found["nodes"][0]["html"]) for found in report.response["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


def profile(width: int, scheme: str) -> dict[str, object]:
    return {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "has_touch": width < 700}


@LOOKS
def test_the_queue_in_all_its_states(scene: Scene, open_page: OpenPage, width: int, scheme: str) -> None:
    scene.submit({"n": 1}, now=timezone.now() - timedelta(seconds=560))
    second, failing, open_one = (
        scene.submit({"text": f"{'long' * 80} {n}\u202e\nnext"}, reason="x" * 400) for n in range(3)
    )
    page = open_page("/approvals", expected="409", **profile(width, scheme))
    scene.approve(scene.submit({"n": 7}))
    scene.approve(second)
    page.locator(f'[data-card="{second.pk}"]').get_by_role("button", name="Deny").click()
    expect(page.locator("[data-note]")).to_be_visible()
    scene.approve(failing)
    scene.fail(failing, "the platform did not answer in time.")
    page.clock.fast_forward(5000)
    expect(page.get_by_role("alert")).to_be_visible()
    page.locator(f'[data-card="{open_one.pk}"] summary').click()
    expect(page.get_by_text("Processing…").first).to_be_visible()
    check(page)


@LOOKS
def test_the_other_pages(scene: Scene, open_page: OpenPage, width: int, scheme: str) -> None:
    look = profile(width, scheme)
    approval = scene.approve(scene.submit({"n": 1}))
    scene.fail(approval, "the platform did not answer in time.")
    lost = scene.submit({"n": 2})
    scene.lose(lost)
    again, _ = send_again(
        member=scene.approver, approval_id=lost.pk, requester_address=None, request_id=uuid4(), now=timezone.now()
    )
    long = scene.submit(text=f"[{'[],' * 50_000}[]]")  # too long for the list, and for laying out
    for page in (
        open_page(f"/approvals/{long.pk}", **look),
        open_page("/approvals", **look),
        open_page(f"/approvals/{approval.pk}", **look),
        open_page(f"/approvals/{lost.pk}", **look),
        open_page(f"/approvals/{again.pk}", **look),
        open_page("/approvals/history?state=unknown", **look),
        open_page("/sign-in", member=None, **look),
        open_page("/nothing-here", expected="404", **look),
    ):
        check(page)


def test_a_refused_sign_in(scene: Scene, open_page: OpenPage) -> None:
    page = open_page("/sign-in", member=None)
    page.get_by_label("E-mail").fill("admin@acme.example")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("The e-mail address or the password is not right.")
    expect(page.get_by_label("E-mail")).to_have_value("admin@acme.example")
    check(page)


def test_targets_are_large_enough_for_fingers(scene: Scene, open_page: OpenPage) -> None:
    scene.submit({"n": 1})
    page = open_page("/approvals", **profile(360, "light"))
    for target in page.locator(
        "button:visible, a.nav-link:visible, a.sidebar-home:visible, input:visible, summary:visible"
    ).all():
        box = target.bounding_box()
        assert box is not None
        assert box["height"] >= 44, target.inner_text()
        assert box["width"] >= 44, target.inner_text()


@pytest.mark.parametrize(
    "data",
    [
        {"w" * 3000: "w" * 3000},
        {"text": "🂡" * 500 + "文" * 500},
        {"text": "a" + "\u0301" * 500},
        {"deep": [[[[[[[[[[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]]]]]]]]]},
    ],
)
def test_no_payload_makes_the_page_scroll_sideways(scene: Scene, open_page: OpenPage, data: object) -> None:
    scene.submit(data, reason="r" * 500)
    page = open_page("/approvals", **profile(360, "light"))
    page.locator("summary").click()
    check(page)
