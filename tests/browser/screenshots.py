"""Makes docs/screenshots: `python -m pytest tests/browser/screenshots.py`. Not a test; pytest does not collect it by itself."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from tests.browser.conftest import OpenPage
from tests.pages.scene import Scene

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"


def fill(scene: Scene) -> None:
    """A few calls as they come in on an ordinary day."""
    now = timezone.now()
    support = scene.add_agent("support-agent")
    scene.add_platform(
        "github",
        base_url="https://api.github.com",
        connection="acme organisation",
        scopes={"contents:write": ["* /repos/**"]},
    )
    scene.add_platform(
        "stripe", base_url="https://api.stripe.com", connection="Live", scopes={"refunds:write": ["POST /v1/refunds"]}
    )
    scene.submit(
        {"charge": "ch_3PqX1k2eZvKYlo2C", "amount": 4800, "metadata": {"ticket": "SUP-4411"}},
        platform="stripe",
        scope="refunds:write",
        endpoint="/v1/refunds",
        agent=support,
        reason="The customer was charged twice for order 20931 and asked for the second charge back.",
        now=now - timedelta(seconds=548),
    )
    scene.submit(
        {"channel": "#releases", "text": "Version 4.2 goes out at 15:00 UTC.\nChanges: https://acme.example/4.2"},
        reason="Announce the release",
        now=now - timedelta(seconds=203),
    )
    scene.submit(
        platform="github",
        scope="contents:write",
        method="DELETE",
        endpoint="/repos/acme/website/git/refs/heads/old-landing-page",
        reason="The branch is merged",
        now=now - timedelta(seconds=61),
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("device", "width", "height"), [("desktop", 1440, 1220), ("phone", 360, 740)])
def test_screenshots(scene: Scene, open_page: OpenPage, scheme: str, device: str, width: int, height: int) -> None:
    fill(scene)
    look = {
        "viewport": {"width": width, "height": height},
        "color_scheme": scheme,
        "device_scale_factor": 2 if width < 700 else 1.25,
    }
    page = open_page("/approvals", **look)
    if device == "desktop":
        page.locator("summary").first.click()
        page.mouse.move(0, 0)
    page.screenshot(path=FOLDER / f"approvals-{device}-{scheme}.png", animations="disabled")
    page = open_page("/sign-in", member=None, **look)
    page.screenshot(path=FOLDER / f"sign-in-{device}-{scheme}.png", animations="disabled")
