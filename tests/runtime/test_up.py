"""`manage.py up` for real: what runs, what ends, and what is left. Its boots are shared, so the order matters."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from agentvalet import embedded
from tests.runtime.installation import Installation, free_port, manage

pytestmark = [pytest.mark.services, pytest.mark.xdist_group("up")]


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    installation = Installation()
    try:
        yield installation
    finally:
        installation.remove()


def keepsakes(installation: Installation) -> list[tuple[object, ...]]:
    with embedded.Postgres(data_dir=installation.data).connect(database="agentvalet") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS keepsake (word text)")
        return connection.execute("SELECT word FROM keepsake").fetchall()


def test_the_first_start_serves_and_prints_where(installation: Installation) -> None:
    printed = installation.start()
    assert f"http://localhost:{installation.port}\n" in printed
    assert installation.health() == 200
    assert set(installation.processes().values()) == {"up", "web", "worker", "beat", "valkey", "postgres"}


def test_key_files_are_readable_by_the_owner_only(installation: Installation) -> None:
    files = list((installation.data / "keys").iterdir())
    assert {file.name for file in files} == {"secret_key", "vault_keys", "seal_key", "audit_key"}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_no_server_listens_on_the_network_but_the_web_server(installation: Installation) -> None:
    sockets = [path.name for path in (installation.data / "run").iterdir()]
    assert sorted(sockets) == ["pg", "valkey.sock"]
    with embedded.Postgres(data_dir=installation.data).connect() as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_a_second_up_on_the_same_data_is_refused(installation: Installation) -> None:
    assert installation.process is not None
    second = manage("up", "--port", str(free_port()), env=installation.env)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"agentvalet: AgentValet already runs on {installation.data} (process {installation.process.pid}): "
        "stop it, or set AGENTVALET_DATA.\n"
    )


def test_a_taken_port_is_refused_before_anything_starts(installation: Installation) -> None:
    other = Installation()
    try:
        second = manage("up", "--port", str(installation.port), env=other.env)
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr.startswith(f"agentvalet: Cannot listen on 127.0.0.1 port {installation.port}")
        assert second.stderr.count("\n") == 1
        assert not (other.data / "postgres").exists()
    finally:
        other.remove()


@pytest.mark.parametrize("name", ["web", "worker", "beat"])
def test_a_killed_child_is_started_again_without_left_overs(installation: Installation, name: str) -> None:
    before = {pid for pid, role in installation.processes().items() if role == name}
    os.kill(min(before), signal.SIGKILL)  # of granian that is the main process, which leaves its worker behind
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        now = {pid for pid, role in installation.processes().items() if role == name}
        if now and not now & before:
            break
        time.sleep(0.05)
    assert now
    assert not now & before


def test_sigterm_stops_everything_in_order(installation: Installation) -> None:
    deadline = time.monotonic() + 20  # the web server was killed by an earlier test
    while time.monotonic() < deadline:
        try:
            if installation.health() == 200:
                break
        except OSError:
            time.sleep(0.05)
    keepsakes(installation)
    with embedded.Postgres(data_dir=installation.data).connect(database="agentvalet") as connection:
        connection.execute("INSERT INTO keepsake VALUES ('kept')")
    installation.signal(signal.SIGTERM)
    order = installation.order_of_ending(patience=45)
    assert installation.wait() == 0
    assert order == ["web", "worker", "beat", "valkey", "postgres", "up"]
    assert installation.processes() == {}


def test_the_second_start_keeps_data_and_keys(installation: Installation) -> None:
    keys = {file.name: file.read_text() for file in (installation.data / "keys").iterdir()}
    installation.start()
    assert installation.health() == 200
    assert keepsakes(installation) == [("kept",)]
    assert {file.name: file.read_text() for file in (installation.data / "keys").iterdir()} == keys


def test_sigkill_leaves_no_orphan_and_the_next_start_works_at_once(installation: Installation) -> None:
    killed = set(installation.processes())
    installation.signal(signal.SIGKILL)
    installation.wait()
    installation.start()  # waits for what the killed run left behind
    assert not killed & set(installation.processes())
    assert installation.health() == 200
    assert keepsakes(installation) == [("kept",)]


def test_losing_the_database_server_stops_everything_with_a_sentence(installation: Installation) -> None:
    assert installation.process is not None
    assert installation.process.stdout is not None
    roles = installation.processes()
    os.kill(min(pid for pid, role in roles.items() if role == "postgres"), signal.SIGKILL)
    printed = installation.process.stdout.read()
    assert installation.wait() == 1
    assert "agentvalet: postgres ended, so everything was stopped" in printed
    assert "Traceback" not in printed
    assert installation.wait_until_gone(patience=20) == {}
