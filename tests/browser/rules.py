"""What every page is held against: axe's rules for WCAG 2.2 AA, no sideways scrolling, targets for fingers."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, ViewportSize

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 800}

_WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_AXE = """async ([tags, preload]) => (await axe.run({runOnly: tags, preload, resultTypes: ["violations"]})).violations.map(
  (found) => `${found.id}: ${found.nodes.map((node) => node.html).slice(0, 2).join(" ")}`)"""
_SIDEWAYS = """() => {
  const wide = document.documentElement.scrollWidth;
  return wide > innerWidth ? [`scrolls sideways: ${wide} > ${innerWidth}`] : [];
}"""
_FINGERS = """() => {
  const wrong = [];
  if (innerWidth < 700) {
    const targets = "main :is(button, .button, .input, .tab, summary, label.check), nav a, a.sidebar-home";
    for (const target of document.querySelectorAll(targets)) {
      const box = target.getBoundingClientRect();
      if (box.height && box.height < 43.9 && target.checkVisibility({visibilityProperty: true}))
        wrong.push(`too small for a finger: ${box.height} px: ${target.outerHTML.slice(0, 120)}`);
    }
  }
  return wrong;
}"""


def check(page: Page) -> None:
    """Nothing may be wrong with the page as it is."""
    page.evaluate(AXE_SCRIPT)
    assert _wrong(page) == []


def everywhere(page: Page) -> list[str]:
    """What is wrong with the page in each width and colour scheme. It stays as it is otherwise: nothing is reloaded."""
    return _shown(page, [(size, scheme) for size in (WIDE, NARROW) for scheme in ("light", "dark")])


def corners(page: Page, *, is_ours: bool = True) -> list[str]:
    """What is wrong with the page wide and light, and narrow and dark: half the work of `everywhere`."""
    return _shown(page, [(WIDE, "light"), (NARROW, "dark")], is_ours=is_ours)


def measured(page: Page, size: ViewportSize) -> list[str]:
    """Without axe, and in the colours that it has."""
    page.set_viewport_size(size)
    return [*page.evaluate(_SIDEWAYS), *page.evaluate(_FINGERS)]


def _shown(page: Page, ways: list[tuple[ViewportSize, Any]], *, is_ours: bool = True) -> list[str]:
    page.evaluate(AXE_SCRIPT)
    wrong = []
    for size, scheme in ways:
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour is measured half-way to another
        wrong += [f"{scheme}, {size['width']} px: {text}" for text in _wrong(page, is_ours=is_ours)]
    return wrong


def _wrong(page: Page, *, is_ours: bool = True) -> list[str]:
    """A page of Django's is held to the law alone: not to axe's best practices, nor to sizes that fingers hit.

    Nor does axe load its style sheets a second time, which its policy forbids.
    """
    if is_ours:
        return [
            *page.evaluate(_SIDEWAYS),
            *page.evaluate(_FINGERS),
            *page.evaluate(_AXE, [[*_WCAG, "best-practice"], True]),
        ]
    return [*page.evaluate(_SIDEWAYS), *page.evaluate(_AXE, [_WCAG, False])]
