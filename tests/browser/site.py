"""The site on a real port, in a thread of the test process: the WSGI application alone, with its own static files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer
from django.db import connections
from django.test.testcases import QuietWSGIRequestHandler


class _Server(ThreadedWSGIServer):
    daemon_threads = False  # closing waits for requests on their way: the database is emptied next

    def shutdown_request(self, request: socket | tuple[bytes, socket]) -> None:
        super().shutdown_request(request)
        connections.close_all()  # this thread's


@contextmanager
def served_site() -> Iterator[str]:
    """The base URL, for as long as the site is served. The host is localhost, as in local mode."""
    server = _Server(("localhost", 0), QuietWSGIRequestHandler)
    server.set_app(WSGIHandler())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
