"""Bodies that are not read at all, and what every answer says."""

from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django.fixtures import Settings

from agents.models import Owner
from agentvalet.middleware import RefuseFiles
from tests.world import Side, bearer

PATHS = ["/sign-in", "/cli-auth", "/approvals", "/admin/", "/nowhere"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def strict() -> Client:
    """A stranger's client with a cookie for the CSRF check, which then reads the form for its other half."""
    client = Client(enforce_csrf_checks=True)
    Owner.objects.create(name="Acme")  # else every page leads to the set-up
    assert client.get("/sign-in").cookies
    return client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_over_the_limit_is_not_read(
    strict: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    monkeypatch.setattr(RefuseFiles, "handle_raw_input", lambda *_, **__: pytest.fail("it was read"))
    settings.MAX_REQUEST_BYTES = 1000
    response = strict.post(path, b"x" * 1001, content_type=kind)
    assert response.status_code == 413
    assert b"This is too long" in response.content
    assert response["X-Request-Id"].encode() in response.content


def test_a_body_of_the_limit_is_read(strict: Client, settings: Settings) -> None:
    settings.MAX_REQUEST_BYTES = 1000
    assert strict.post("/sign-in", b"x" * 1000, content_type="text/plain").status_code == 403  # no CSRF token


@pytest.mark.parametrize("length", ["", "many", "-1", "1e9"])
def test_a_length_that_is_none_is_no_error_of_ours(strict: Client, length: str) -> None:
    response = strict.generic("POST", "/sign-in", b"", CONTENT_LENGTH=length)
    assert response.status_code in {400, 403}


@pytest.mark.parametrize("size", [0, 10, 500_000])
@pytest.mark.parametrize("path", PATHS[:2])
def test_a_file_is_refused_and_never_on_the_disk(
    strict: Client, settings: Settings, tmp_path: Path, path: str, size: int
) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    response = strict.post(path, {"email": "a@b.c", "file": SimpleUploadedFile("a.bin", b"x" * size)})
    assert response.status_code == 400
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [*PATHS, "/v1/actions", "/v1/register", "/functions/v1/cli-auth"])
def test_a_body_in_chunks_is_refused(client: Client, path: str) -> None:
    response = client.post(path, b"{}", content_type="application/json", headers={"Transfer-Encoding": "chunked"})
    assert response.status_code == 411
    if path.startswith(("/v1", "/functions")):
        assert response.json()["code"] == "length_required"


def test_the_agent_api_reads_no_more_than_the_limit(client: Client, acme: Side, settings: Settings) -> None:
    settings.MAX_REQUEST_BYTES = 1000
    response = client.post("/v1/actions", b"x" * 1001, content_type="application/json", headers=bearer(acme.agent))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/sign-in", "/v1/actions", "/nowhere", "/static/none.css"])
def test_every_answer_tells_browsers_to_stay_with_https_though_the_proxy_ended_tls(
    client: Client, settings: Settings, path: str
) -> None:
    settings.SECURE_HSTS_SECONDS = 31_536_000
    assert client.get(path)["Strict-Transport-Security"] == "max-age=31536000"


def test_without_https_nothing_is_promised(client: Client) -> None:
    assert "Strict-Transport-Security" not in client.get("/sign-in")
