"""Letting a command line in: the form's redirect reaches its loopback port, under our Content-Security-Policy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import pytest

from agents.models import CliLogin
from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.browser


@pytest.fixture
def command_line() -> Iterator[tuple[int, list[str]]]:
    """The port that the command line listens on, and the paths it was sent."""
    paths: list[str] = []

    class Callback(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>in</title><link rel=icon href=data:,>Authorized")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Callback) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port, paths
        server.shutdown()
        thread.join()


def test_the_button_takes_the_browser_to_the_command_line(
    open_page: OpenPage, command_line: tuple[int, list[str]]
) -> None:
    port, paths = command_line
    page = open_page(f"/cli-auth?state={uuid4()}&port={port}")
    page.get_by_role("button", name="Sign in the command line").click()
    page.wait_for_url(f"http://127.0.0.1:{port}/callback?code=*")
    assert page.get_by_text("Authorized").is_visible()
    assert [path.split("=")[0] for path in paths] == ["/callback?code"]
    assert CliLogin.objects.count() == 1
