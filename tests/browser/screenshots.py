"""Makes docs/screenshots: `make screenshots`. Not a test; pytest does not collect it by itself."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

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
TITLE = """# Every page

Made by `make screenshots`: 1,440 and 360 pixels wide, light and dark; pages of less use wide and light, and narrow and dark.
"""
# Taken in each width and colour scheme.
MAIN = {"approvals", "approval", "phone-approvals", "phone-approval", "notifications", "agents", "agent", "platforms",
        "platform", "audit", "settings", "sign-in"}  # fmt: skip


def sign_in(context: BrowserContext, site: str, member: Member, *, is_confirmed: bool = True) -> None:
    """In the place of the session that the profile had."""
    for old in context.cookies():
        Client(headers={"cookie": f"{old['name']}={old['value']}"}).post("/sign-out")
    cookie = signed_in(member, confirmed=is_confirmed).cookies["agentvalet_session"]
    context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": site}])


class Camera:
    """Takes each page twice, those of `MAIN` four times."""

    def __init__(self, browser: Browser, site: str) -> None:
        self.browser, self.site = browser, site
        self.blank = browser.new_page()
        self.taken: dict[str, list[str]] = {}

    def profile(self, member: Member | None, *, is_confirmed: bool = True) -> BrowserContext:
        context = self.browser.new_context(base_url=self.site, viewport=WIDE, reduced_motion="reduce")
        if member:
            sign_in(context, self.site, member, is_confirmed=is_confirmed)
        return context

    def take(self, name: str, page: Page) -> None:
        files = self.taken[name] = []
        for width, least, usual in (
            (WIDE["width"], WIDE["height"], "light"),
            (PHONE["width"], PHONE["height"], "dark"),
        ):
            page.set_viewport_size({"width": width, "height": least})
            height = max(least, min(page.evaluate("document.documentElement.scrollHeight"), TALLEST[width]))
            page.set_viewport_size({"width": width, "height": height})
            schemes: list[Any] = ["light", "dark"] if name in MAIN else [usual]
            for scheme in schemes:
                page.emulate_media(color_scheme=scheme)
                png = page.screenshot(animations="disabled")
                files.append(f"{name}-{width}-{scheme}.png")
                (FOLDER / files[-1]).write_bytes(with_palette(png, blank=self.blank))

    def write_index(self) -> None:
        """docs/screenshots/README.md, and away with pictures that are taken no more."""
        text = TITLE
        for name, files in self.taken.items():
            text += f"\n## {name}\n\n" + " ".join(f"![{file.removesuffix('.png')}]({file})" for file in files) + "\n"
        (FOLDER / "README.md").write_text(text)
        taken = {file for files in self.taken.values() for file in files}
        for old in FOLDER.glob("*.png"):
            if old.name not in taken:
                old.unlink()


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
                if stop.strings:  # the page itself, not one that stands before it
                    expect(page.locator("body")).to_contain_text(stop.strings[0])
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
