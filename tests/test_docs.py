"""What the documentation names is there: targets of make, settings, commands, files, and where links lead."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands

from agentvalet.settings import env

ROOT = Path(settings.BASE_DIR)
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/screenshots/*.md")])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OF_CLIENTS = {"AGENTVALET_API_URL", "AGENTVALET_PROXY_URL"}  # the published ones read these
VARIABLES = {*env.scheme, *OF_CLIENTS, "AGENTVALET_CRASH_POINTS"}
FILE = r"`([\w.-][\w./-]*/[\w.-]+\.(?:py|md|sh|txt|toml|yml|json|css|js|html|lock))`"
LINK = r"\]\((?!https?:|mailto:|#)([^)#]+)"


def missing(text: str, folder: Path) -> set[str]:
    gone = {f"make {name}" for name in re.findall(r"\bmake ([a-z-]+)`", text) if name not in TARGETS}
    gone |= {name for name in re.findall(r"\bAGENTVALET_[A-Z_]*[A-Z]\b", text) if name not in VARIABLES}
    gone |= {f"manage.py {name}" for name in re.findall(r"manage\.py ([a-z_]+)", text) if name not in get_commands()}
    gone |= {name for name in re.findall(FILE, text) if not (ROOT / name).exists() and not (folder / name).exists()}
    return gone | {name for name in re.findall(LINK, text) if not (folder / name).exists()}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_is_there(path: Path) -> None:
    assert missing(path.read_text(), path.parent) == set()


def test_what_is_not_there_is_found() -> None:
    text = "`make tea` AGENTVALET_TEA manage.py tea `docs/tea.md` [x](tea.md) `make test` AGENTVALET_MODE `docs/api.md`"
    assert missing(text, ROOT / "docs") == {
        "make tea", "AGENTVALET_TEA", "manage.py tea", "docs/tea.md", "tea.md",
    }  # fmt: skip
