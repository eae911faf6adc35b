"""The owner's side of what agents ask for; `owner_process.py` does it, beside the running server."""

import time
from typing import Any

from tests.interop.remote import Remote

PATIENCE = 20.0


class Owner:
    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    def do(self, what: str, **more: Any) -> Any:
        return self.remote.order(what, **more).outcome["returned"]

    def once_asked(self, what: str, **more: Any) -> str:
        """Decide as soon as there is something to decide."""
        deadline = time.monotonic() + PATIENCE
        while (done := self.do(what, **more)) is None:
            assert time.monotonic() < deadline, f"nobody asked: {what} {more}"
            time.sleep(0.2)
        return str(done)
