"""THREAT_MODEL.md names what exists: every file and folder in it is there, and every invariant is shown by a test."""

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
TEXT = (ROOT / "THREAT_MODEL.md").read_text()
NAMED = sorted({name for name in re.findall(r"`([A-Za-z0-9_./-]+)`", TEXT) if "/" in name and not name.startswith("/")})
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| \d+ \|", line)]


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_no_test_is_named_without_its_folder() -> None:
    assert not re.findall(r"`test_\w+\.py`", TEXT)


@pytest.mark.parametrize("number", range(1, 13))
def test_every_invariant_is_shown_by_a_test(number: int) -> None:
    rows = [row for row in ROWS if int(row[0]) == number]
    assert rows
    assert all(any(name in row[-1] for name in NAMED if name.startswith("tests/")) for row in rows)
