"""The walk: every page as every kind of visitor, in light and dark, wide and narrow; what is wrong anywhere is listed.

A page has no line on the console (so no breach of the Content-Security-Policy), nothing to scroll sideways, no violation
of axe's rules for WCAG 2.2 AA, targets that fingers hit, and the words that product.md gives it. An admin, who sees the
most, looks at each page in both widths and both colour schemes, by all rules each time; the others wide and light, and
narrow and dark, by the same rules: what differs for them is which parts of the page are there.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from django.contrib import admin
from django.urls import URLPattern, get_resolver
from playwright.sync_api import Browser, BrowserContext, Page

from agents.models import Member
from agentvalet import api_docs
from tests.browser.rules import WIDE, corners, everywhere
from tests.browser.stops import EMPTY, STATE, STOPS
from tests.browser.town import Town, make_town, overflow
from tests.pages.scene import make_scene, signed_in

pytestmark = pytest.mark.browser

WORDS = """() => [document.body.innerText, ...[...document.querySelectorAll("[placeholder], [aria-label]")].map(
  (one) => `${one.placeholder} ${one.ariaLabel}`)].join(" ")"""


class Walker:
    """One visitor in one browser profile. `wrong` is what they met."""

    def __init__(self, context: BrowserContext, site: str, role: str, member: Member | None) -> None:
        self.context, self.site = context, site
        self.role = role
        self.member = member
        self.wrong: list[str] = []
        self.at = ""
        self.page: Page = context.new_page()
        if member:
            self.sign_in(member)
        self.page.on("console", lambda line: self._console(line.type, line.text))
        self.page.on("pageerror", lambda error: self.complain(f"script: {error}"))

    def complain(self, text: str) -> None:
        self.wrong.append(f"{self.role} at {self.at}: {text}")

    def _console(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and "the server responded with a status of" not in text:
            self.complain(f"console: {text}")

    def sign_in(self, member: Member, *, is_confirmed: bool = True) -> None:
        cookie = signed_in(member, confirmed=is_confirmed).cookies["agentvalet_session"]
        self.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": self.site}])

    def go(self, at: str, path: str) -> int:
        """Open a page; the status of its answer."""
        self.at = f"{at} ({path})"
        self.page.set_viewport_size(WIDE)
        response = self.page.goto(path)
        assert response is not None
        return response.status

    def look(self, look: Callable[[Page], list[str]]) -> None:
        for text in look(self.page):
            self.complain(text)

    def read(self, strings: tuple[str, ...]) -> None:
        words = " ".join(self.page.evaluate(WORDS).split())
        for string in strings:
            if string not in words:
                self.complain(f"does not say {string!r}")


# What is no page: answers for programs and scripts, and what only leads elsewhere.
FILES = {
    ".well-known/agentvalet-receipt-keys.json",
    "approvals/told",
    "approvals/<uuid:approval_id>/changes",
    "approvals/<uuid:approval_id>/payload.txt",
    "approvals/<uuid:approval_id>/answer.txt",
    "approvals/<uuid:approval_id>/receipt.json",
    "sw.js",
    "manifest.webmanifest",
    "health",
    "admin/login/",
    "admin/logout/",
    "admin/password_change/",
    "",
}
API = ("v1/", "functions/v1/")
MAY = {
    "public": {"admin", "approver", "auditor", "stranger", "nobody"},
    "nobody": {"nobody"},
    "own": {"admin", "approver", "auditor", "stranger"},
    "admins": {"admin", "stranger"},
    "member": {"admin", "approver", "auditor"},
    "admin": {"admin"},
}
# What who may not see a page gets instead, and what it says.
REFUSED = {"nobody": 200, "stranger": 404}
SAYS = {
    200: ("Sign in", "E-mail", "Password"),
    403: ("You may not do this", "Go to approvals"),
    404: ("There is nothing here", "Go to approvals"),
}


@contextmanager
def visitor(chromium: Browser, site: str, role: str, town: Town | None = None) -> Iterator[Walker]:
    with chromium.new_context(base_url=site) as context:
        yield Walker(context, site, role, town.member(role) if town else None)


def a_path(route: str) -> str:
    """Of nothing that there is: a view that does not know GET says so before it looks."""
    values = {"uuid": STATE, "slug": "x", "int": "1", "str": "x"}
    return "/" + re.sub(r"<(\w+):\w+>", lambda found: values[found[1]], route)


def test_every_page_is_on_the_way(db: None) -> None:
    """A new route needs a stop, if it answers a GET with a page."""
    client = signed_in(make_scene().admin)
    patterns = [str(entry.pattern) for entry in get_resolver().url_patterns if isinstance(entry, URLPattern)]
    ours = [route for route in patterns if not route.startswith(API)]
    known = {stop.route for stop in STOPS} | FILES | {"set-up"}
    assert known - FILES <= set(ours)
    assert [route for route in ours if route not in known and client.get(a_path(route)).status_code != 405] == []


def test_an_admin_meets_every_page(chromium: Browser, site: str) -> None:
    with visitor(chromium, site, "nobody") as walker:
        walker.go("set-up", "/approvals")  # where every page leads as long as there is nobody
        walker.read(("Set up AgentValet",))
        walker.look(everywhere)
        wrong = walker.wrong
    town = make_town()
    overflow(town)
    with visitor(chromium, site, "admin", town) as walker:
        for stop in STOPS:
            if "admin" not in MAY[stop.who]:
                continue
            walker.sign_in(town.scene.admin, is_confirmed=stop.is_confirmed)
            if (status := walker.go(stop.name, stop.path(town))) != stop.status:
                walker.complain(f"status {status}")
            if stop.act:
                stop.act(walker.page)
            walker.read(stop.strings)
            walker.look(everywhere)
        wrong += walker.wrong
    assert not wrong, "\n".join(wrong)


def test_others_meet_every_page_or_a_kind_refusal(
    chromium: Browser, site: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    town = make_town()
    overflow(town)
    wrong = []
    for role in ("approver", "auditor", "stranger", "nobody"):
        with visitor(chromium, site, role, town) as walker:
            _walk(walker, town)
            if role == "auditor":
                _walk_the_admin(walker)
            if role == "nobody":
                monkeypatch.setattr(api_docs, "render", _fail)
                assert walker.go("broken", "/api-docs") == 500
                walker.read(("Something went wrong on our side", "Go to approvals"))
                walker.look(everywhere)
            wrong += walker.wrong
    assert not wrong, "\n".join(wrong)
    assert "broken for the test" in caplog.text


def _fail(*_: object) -> None:
    raise RuntimeError("broken for the test")


def _walk(walker: Walker, town: Town) -> None:
    seen: set[str] = set()
    refusals: set[int] = set()
    for stop in STOPS:
        path, may = stop.path(town), walker.role in MAY[stop.who]
        if path in seen or (stop.who == "nobody" and not may):
            continue
        seen.add(path)
        expected = stop.status if may else REFUSED.get(walker.role, 403)
        if (status := walker.go(stop.name, path)) != expected:
            walker.complain(f"status {status}")
        if not may:
            walker.read(SAYS[expected])
        elif walker.role in {"stranger", "nobody"}:
            walker.read(EMPTY.get(stop.name, ()) if walker.role == "stranger" else stop.strings)
        if stop.who != "public" and (may or expected not in refusals):  # one of each kind is enough
            walker.look(corners)
        if not may:
            refusals.add(expected)


def _walk_the_admin(walker: Walker) -> None:
    """Django's own pages are not ours to lay out, but they run under our policy and are to be read by everybody."""
    paths = ["admin/", "admin/approvals/", "admin/audit/"]
    for model in filter(lambda model: model._meta.app_label in {"approvals", "audit"}, admin.site._registry):
        place = f"admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.values_list("pk", flat=True).order_by("pk").last()
        paths += [place, f"{place}?q=deploy", f"{place}{row}/change/"]
    for path in paths:
        if (status := walker.go("the admin", f"/{path}")) != 200:
            walker.complain(f"status {status}")
        walker.look(partial(corners, is_ours=False))
