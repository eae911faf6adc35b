"""/components is for who works on the pages: an installation in production does not have it."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings


@pytest.mark.parametrize(("production", "status"), [(False, 200), (True, 404)])
def test_components_are_shown_outside_production_only(
    admin: Client, settings: Settings, production: bool, status: int
) -> None:
    settings.PRODUCTION = production
    assert admin.get("/components").status_code == status
