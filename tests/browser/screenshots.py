"""Makes docs/screenshots: `make screenshots`. Not a test; pytest does not collect it by itself."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from agents.models import Member
from agentvalet import api_docs
from audit.checkpoints import checkpoint_moved_chains
from tests.browser.pictures import with_palette
from tests.browser.rules import WIDE
from tests.browser.stops import EMPTY, STOPS
from tests.browser.town import make_town
from tests.pages.scene import signed_in

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
PHONE: ViewportSize = {"width": 360, "height": 740}
TALLEST = {1440: 1500, 360: 1900}
TITLE = "# Every page\n\nMade by `make screenshots`: 1,440 and 360 pixels wide, light and dark.\n"


def sign_in(context: BrowserContext, site: str, member: Member, *, is_confirmed: bool = True) -> None:
    """In the place of the session that the profile had."""
    for old in context.cookies():
        Client(headers={"cookie": f"{old['name']}={old['value']}"}).post("/sign-out")
    cookie = signed_in(member, confirmed=is_confirmed).cookies["agentvalet_session"]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": site}])


class Camera:
    """Takes each page four times."""

    def __init__(self, browser: Browser, site: str) -> None:
        self.browser, self.site = browser, site
        self.blank = browser.new_page()
        self.names: list[str] = []

    def profile(self, member: Member | None, *, is_confirmed: bool = True) -> BrowserContext:
        context = self.browser.new_context(base_url=self.site, viewport=WIDE, reduced_motion="reduce")
        if member:
            sign_in(context, self.site, member, is_confirmed=is_confirmed)
        return context

    def take(self, name: str, page: Page) -> None:
        self.names.append(name)
        schemes: list[Any] = ["light", "dark"]
        for width, least in ((WIDE["width"], WIDE["height"]), (PHONE["width"], PHONE["height"])):
            page.set_viewport_size({"width": width, "height": least})
            height = max(least, min(page.evaluate("document.documentElement.scrollHeight"), TALLEST[width]))
            page.set_viewport_size({"width": width, "height": height})
            for scheme in schemes:
                page.emulate_media(color_scheme=scheme)
                png = page.screenshot(animations="disabled")
                (FOLDER / f"{name}-{width}-{scheme}.png").write_bytes(with_palette(png, blank=self.blank))

    def write_index(self) -> None:
        """docs/screenshots/README.md, and away with pictures of pages that are no more."""
        text = TITLE
        for name in self.names:
            text += f"\n## {name}\n\n"
            for width in (WIDE["width"], PHONE["width"]):
                text += "".join(f"![{name}, {scheme}]({name}-{width}-{scheme}.png) " for scheme in ("light", "dark"))
            text = f"{text.rstrip()}\n"
        (FOLDER / "README.md").write_text(text)
        for file in FOLDER.glob("*.png"):
            if file.name.rsplit("-", 2)[0] not in self.names:
                file.unlink()


def test_screenshots(chromium: Browser, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(chromium, site)
    with camera.profile(None) as context:
        page = context.new_page()
        page.goto("/approvals")
        camera.take("set-up", page)
    town = make_town(lifetime=timedelta(minutes=15))
    admin = town.scene.admin
    with (
        camera.profile(None) as out,
        camera.profile(admin) as sure,
        camera.profile(admin, is_confirmed=False) as unsure,
    ):
        for stop in STOPS:
            checkpoint_moved_chains(now=timezone.now())
            if stop.act:  # it is asked for again who is there, in time
                sign_in(sure, site, admin)
            profile = sure if stop.is_confirmed else unsure
            with (out if stop.who in {"nobody", "public"} else profile).new_page() as page:
                page.goto(stop.path(town))
                if stop.act:
                    stop.act(page)
                camera.take(stop.name, page)
    with camera.profile(town.stranger) as context:
        page = context.new_page()
        for stop in STOPS:
            if stop.name in EMPTY:
                page.goto(stop.path(town))
                camera.take(f"{stop.name}-empty", page)
        page.goto("/nothing-here")
        camera.take("not-found", page)
        monkeypatch.setattr(api_docs, "render", None)
        page.goto("/api-docs")
        camera.take("server-error", page)
    camera.write_index()
