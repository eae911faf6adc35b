"""`manage.py up` for real: what runs, what ends, and what is left. Tests share a boot where they can."""

import os
import signal
from collections.abc import Iterator

import pytest

from agents.set_up_secret import set_up_secret
from agentvalet import embedded, keys
from tests.runtime.installation import Installation, eventually, free_port, manage

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    installation = Installation()
    try:
        yield installation
    finally:
        installation.remove()


def kept_words(installation: Installation, *, add: str | None = None) -> list[object]:
    with embedded.Postgres(data_dir=installation.data).connect(database="agentvalet") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS keepsake (word text)")
        if add:
            connection.execute("INSERT INTO keepsake VALUES (%s)", [add])
        return [row[0] for row in connection.execute("SELECT word FROM keepsake").fetchall()]


def key_files(installation: Installation) -> dict[str, str]:
    return {file.name: file.read_text() for file in (installation.data / "keys").iterdir()}


def test_the_first_start_serves_and_prints_where(installation: Installation) -> None:
    printed = installation.start()
    assert f"http://localhost:{installation.port}\n" in printed
    assert f"make the first owner at http://localhost:{installation.port}/set-up\n" in printed
    secret = printed.partition("good for that alone:")[2].split()[0]
    assert secret == set_up_secret(key=(installation.data / "keys" / "secret_key").read_text().strip())
    assert not [log.name for log in (installation.data / "log").iterdir() if secret in log.read_text(errors="replace")]
    assert installation.process is not None
    steps = ["Making a database and starting it …", "Starting Valkey …", "Checking settings, migrating the database …",
             "Starting web server and workers …"]  # fmt: skip
    assert [line for line in printed.splitlines() if line.endswith("…")] == steps
    assert f"Ctrl-C or `kill {installation.process.pid}` stops everything." in printed
    assert installation.health() == 200
    assert set(installation.processes().values()) == {
        "up", "web", "worker", "sweeper", "messenger", "beat", "valkey", "postgres",
    }  # fmt: skip


def test_key_files_are_readable_by_the_owner_only(installation: Installation) -> None:
    installation.ensure_started()
    assert key_files(installation).keys() == {name.removeprefix("AGENTVALET_").lower() for name in keys.fresh()}
    assert {file.stat().st_mode & 0o777 for file in (installation.data / "keys").iterdir()} == {0o600}


def test_the_own_servers_do_not_listen_on_the_network(installation: Installation) -> None:
    installation.ensure_started()
    assert sorted(path.name for path in (installation.data / "run").iterdir()) == ["pg", "valkey.sock"]
    with embedded.Postgres(data_dir=installation.data).connect() as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_a_second_up_on_the_same_data_is_refused(installation: Installation) -> None:
    installation.ensure_started()
    assert installation.process is not None
    second = manage("up", "--port", str(free_port()), env=installation.env)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"agentvalet: AgentValet already runs on {installation.data} (process {installation.process.pid}): "
        "stop it, or set AGENTVALET_DATA.\n"
    )


def test_a_taken_port_is_refused_before_anything_starts(installation: Installation) -> None:
    installation.ensure_started()
    other = Installation()
    try:
        second = manage("up", "--port", str(installation.port), env=other.env)
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr.startswith(f"agentvalet: Cannot listen on 127.0.0.1 port {installation.port}")
        assert second.stderr.count("\n") == 1
        assert not (other.data / "postgres").exists()
    finally:
        other.remove()


@pytest.mark.parametrize("name", ["web", "worker", "sweeper", "messenger", "beat"])
def test_a_killed_child_is_started_again_without_left_overs(installation: Installation, name: str) -> None:
    installation.ensure_started()
    before = installation.pids(name)
    os.kill(min(before), signal.SIGKILL)  # of granian that is the main process, which leaves its worker behind
    assert eventually(lambda: installation.pids(name) and not installation.pids(name) & before)
    assert eventually(lambda: installation.health() == 200)


def test_sigterm_stops_everything_in_order_and_the_next_start_keeps_the_data(
    installation: Installation,
) -> None:
    installation.ensure_started()
    words, files = kept_words(installation, add="first"), key_files(installation)
    installation.signal(signal.SIGTERM)
    order = installation.order_of_ending(patience=45)
    assert installation.wait() == 0
    assert order == ["web", "worker", "sweeper", "messenger", "beat", "valkey", "postgres", "up"]
    assert installation.processes() == {}
    installation.start()
    assert kept_words(installation) == words
    assert key_files(installation) == files


def test_sigkill_leaves_no_orphan_and_the_next_start_works_at_once(installation: Installation) -> None:
    installation.ensure_started()
    words = kept_words(installation, add="second")
    killed = set(installation.processes())
    installation.signal(signal.SIGKILL)
    installation.wait()
    installation.start()  # waits for what the killed run left behind
    assert not killed & set(installation.processes())
    assert installation.health() == 200
    assert kept_words(installation) == words


def test_losing_the_database_server_stops_everything_with_a_sentence(installation: Installation) -> None:
    installation.ensure_started()
    assert installation.process is not None
    assert installation.process.stdout is not None
    os.kill(min(installation.pids("postgres")), signal.SIGKILL)
    printed = installation.process.stdout.read()
    assert installation.wait() == 1
    assert "agentvalet: postgres ended, so everything was stopped" in printed
    assert "Traceback" not in printed
    assert installation.wait_until_gone(patience=20) == {}
