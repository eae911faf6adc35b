"""Pages for people, through HTTP: static files collected once, and two owners to tell apart."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client

from tests.pages.scene import Scene, collect_static, make_scene, signed_in


@pytest.fixture(scope="session", autouse=True)
def static_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with collect_static(str(tmp_path_factory.mktemp("static"))):
        yield


@pytest.fixture
def scene(db: None) -> Scene:
    return make_scene()


@pytest.fixture
def stranger(scene: Scene) -> Client:
    """An admin of another owner."""
    return signed_in(make_scene("Other").admin)


@pytest.fixture
def admin(scene: Scene) -> Client:
    return signed_in(scene.admin)


@pytest.fixture(autouse=True)
def fresh_throttle() -> None:
    cache.clear()
