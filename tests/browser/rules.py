"""What every page is held against: axe's rules for WCAG 2.2 AA, no sideways scrolling, targets for fingers."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, ViewportSize

WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 360, "height": 800}

_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_EVERYTHING = {"type": "tag", "values": _TAGS}
_COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
_AXE = """async (runOnly) => (await axe.run({runOnly, resultTypes: ["violations"]})).violations.map(
  (found) => `${found.id}: ${found.nodes.map((node) => node.html).slice(0, 2).join(" ")}`)"""
_MEASURE = """() => {
  const wrong = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) wrong.push(`scrolls sideways: ${wide} > ${innerWidth}`);
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
    assert [*page.evaluate(_MEASURE), *_axe(page, _EVERYTHING)] == []


def once(page: Page) -> list[str]:
    """What is wrong with the page: by all rules wide and light, and narrow and dark without axe."""
    _show(page, WIDE, "light")
    page.evaluate(AXE_SCRIPT)
    wrong = [*page.evaluate(_MEASURE), *_axe(page, _EVERYTHING)]
    _show(page, NARROW, "dark")
    wrong += page.evaluate(_MEASURE)
    return wrong


def everywhere(page: Page) -> list[str]:
    """What is wrong with the page in each width and colour scheme. It stays as it is otherwise: nothing is reloaded."""
    wrong = []
    page.evaluate(AXE_SCRIPT)
    for size in (WIDE, NARROW):
        _show(page, size, "light")
        wrong += page.evaluate(_MEASURE) + _axe(page, _EVERYTHING)
        _show(page, size, "dark")
        wrong += _axe(page, _COLOURS)  # colours are all that differs
    return wrong


def measured(page: Page, size: ViewportSize) -> list[str]:
    """Without axe, and in the colours that it has."""
    page.set_viewport_size(size)
    return list(page.evaluate(_MEASURE))


def _show(page: Page, size: ViewportSize, scheme: Any) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour is measured half-way to another


def _axe(page: Page, rules: dict[str, Any]) -> list[str]:
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches && 'dark' || 'light'")
    width = page.viewport_size and page.viewport_size["width"]
    return [f"{dark}, {width} px: {text}" for text in page.evaluate(_AXE, rules)]
