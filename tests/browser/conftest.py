"""Chromium in front of the real pages. Every page made here fails its test on a console error or a CSP violation."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page

from agents.models import Member
from tests.browser.site import served_site
from tests.pages.scene import Scene, collect_static, make_scene, signed_in

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def static_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with collect_static(str(tmp_path_factory.mktemp("static"))):
        yield


@pytest.fixture
def site(transactional_db: None, static_files: None) -> Iterator[str]:
    with served_site() as url:
        yield url


@pytest.fixture
def scene(site: str) -> Scene:
    return make_scene()


@pytest.fixture
def open_page(chromium: Browser, site: str, scene: Scene) -> Iterator[OpenPage]:
    """Opens a path in a fresh browser profile, signed in as a member (None: nobody); keywords are the profile's.

    `expected`: parts, divided by |, of what the browser may complain about.
    """
    complaints: list[str] = []
    with ExitStack() as profiles:

        def open_it(
            path: str,
            *,
            member: Member | None = scene.admin,
            confirmed: bool = True,
            expected: str = "",
            **profile: Any,
        ) -> Page:
            context = chromium.new_context(base_url=site, **profile)
            profiles.callback(context.close)
            if member is not None:
                client: Client = signed_in(member, confirmed=confirmed)
                cookie = client.cookies["agentvalet_session"]
                context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": site}])
            context.clock.install()  # tests move the page's timers on instead of waiting
            page = context.new_page()

            def complain(text: str) -> None:
                if not any(part in text for part in expected.split("|") if part):
                    complaints.append(text)

            page.on("console", lambda line: complain(line.text) if line.type in {"error", "warning"} else None)
            page.on("pageerror", lambda error: complain(str(error)))
            page.goto(path)
            return page

        yield open_it
    assert complaints == []
