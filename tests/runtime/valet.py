"""An installation that has been told what there is: provisioned from a file, asked about with SQL."""

import json
import os
import signal
from collections.abc import Mapping
from typing import Any

from agentvalet import embedded
from tests.boot import give_migrated_cluster
from tests.runtime.installation import Installation, manage


class Valet(Installation):
    """A running installation and its owner's provisioning file. Its database was made and migrated before."""

    def __init__(self) -> None:
        super().__init__()
        give_migrated_cluster(self.data)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def provision(self, text: str, *, secrets: Mapping[str, str]) -> dict[str, Any]:
        """Apply the file; what `manage.py provision` prints."""
        file = self.top / "valet.yaml"
        file.write_text(text)
        done = manage("provision", str(file), env=self.env | dict(secrets))
        assert done.returncode == 0, done.stdout + done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    def kill_worker(self) -> None:
        for pid in self.pids("worker"):
            os.kill(pid, signal.SIGKILL)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with embedded.Postgres(data_dir=self.data).connect(database="agentvalet") as connection:
            return connection.execute(sql.encode()).fetchall()
