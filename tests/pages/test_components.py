"""What all pages are put together from. /components is for who works on them: production does not have it."""

import re
from pathlib import Path

import pytest
from django.test import Client
from pytest_django.fixtures import Settings


@pytest.mark.parametrize(("production", "status"), [(False, 200), (True, 404)])
def test_components_are_shown_outside_production_only(
    admin: Client, settings: Settings, production: bool, status: int
) -> None:
    settings.PRODUCTION = production
    assert admin.get("/components").status_code == status


_STATES = r"(?:status|state|decision|severity|result|role|kind|outcome|call_style|body_kind|purpose|channel|found)"
# Printed as text: in braces and in no attribute, or handed to a badge as its words.
_RAW = re.compile(
    r"(?<![\w\"'=-])\{\{ ?((?:\w+\.)*"
    + _STATES
    + r") ?(?:\|(?!capfirst)[^}]*)?\}\}|label=((?:\w+\.)*"
    + _STATES
    + r")\b(?![.|])"
)


def test_no_template_prints_a_state_as_it_is_stored() -> None:
    """People read `get_…_display` or a `label`. In the middle of a sentence, a word that is a word stays one."""
    folder = Path(__file__).parents[2] / "templates"
    raw = {
        f"{path.relative_to(folder)}: {found[1] or found[2]}"
        for path in folder.rglob("*.html")
        for found in _RAW.finditer(path.read_text())
    }
    assert raw == {
        "set_up/_steps.html: steps.call.result",  # "…: allowed."
        "settings/join.html: invitation.role",  # "invites … as approver"
        "settings/members.html: invitation.role",
        "errors/error.html: status",  # HTTP's
        "api_docs.html: answer.status",
    }
