"""How fast the pages are over 500 waiting calls and 1,000,000 audit rows: `make bench-pages`.

An own PostgreSQL, Valkey and web server in a temporary directory, the web server started as `manage.py up` starts it.
First byte: from the request until the status line is there, over one kept connection, one request at a time.
Queries: counted in this process by Django, for the same page and the same database.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from agentvalet import embedded, keys  # noqa: E402

TARGET = 150.0  # ms, first byte


@contextmanager
def installation(port: int) -> Iterator[None]:
    """Both stores running, settings pointed at them, tables and static files made."""
    top = Path(tempfile.mkdtemp(prefix="agentvalet-bench-"))
    top.chmod(0o711 if os.getuid() == 0 else 0o700)  # PostgreSQL runs as `nobody` when root benches
    data = top / "data"
    postgres, valkey = embedded.Postgres(data_dir=data), embedded.Valkey(data_dir=data)
    try:
        postgres.start()
        valkey.start()
        os.environ |= keys.fresh() | {
            "DJANGO_SETTINGS_MODULE": "agentvalet.settings",
            "AGENTVALET_DATA": str(data),
            "DATABASE_URL": embedded.database_url(data),
            "REDIS_URL": embedded.redis_url(data),
            "AGENTVALET_PUBLIC_URL": f"http://localhost:{port}",
            "AGENTVALET_LOG_LEVEL": "ERROR",
        }
        import django  # noqa: PLC0415 - the settings are read here

        django.setup()
        from django.core.management import call_command  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
        yield
    finally:
        valkey.stop()
        postgres.stop()
        shutil.rmtree(top, ignore_errors=True)


@contextmanager
def web_server(port: int) -> Iterator[None]:
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--only", "web", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            while not _answers(port):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("The web server did not start.")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def first_bytes(port: int, path: str, headers: dict[str, str], rounds: int) -> tuple[int, list[float]]:
    """The status, and milliseconds to the first byte of each round but the three that warm up."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    times, status = [], 0
    for _ in range(rounds + 3):
        began = time.perf_counter()
        connection.request("GET", path, headers={"Host": f"localhost:{port}"} | headers)
        answer = connection.getresponse()
        times.append((time.perf_counter() - began) * 1000)
        answer.read()
        status = answer.status
        if status >= 400:
            raise SystemExit(f"{path} answered {status}: nothing to time.")
    connection.close()
    return status, times[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with installation(port):
        from bench import measuring  # noqa: PLC0415 - needs the settings

        began = time.monotonic()
        client, pages = measuring.prepare(rows=options.rows, calls=options.calls)
        took = time.monotonic() - began
        print(f"Filled {options.rows:,} audit rows and {options.calls} waiting calls in {took:.0f} s.")
        cookie = {"Cookie": f"agentvalet_session={client.cookies['agentvalet_session'].value}"}
        print(f"\n{'page':44} {'status':>6} {'p50 ms':>8} {'p95 ms':>8} {'queries':>8}")
        slow = []
        with web_server(port):
            for name, path, headers in pages:
                status, times = first_bytes(port, path, cookie | headers, options.rounds)
                p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
                queries = measuring.count_queries(client, path, headers)
                print(f"{name:44} {status:>6} {p50:>8.1f} {p95:>8.1f} {queries:>8}")
                slow += [name] if p95 >= TARGET else []
    print(f"\nTarget: first byte under {TARGET:.0f} ms (p95). " + (f"Over it: {', '.join(slow)}." if slow else "Met."))


if __name__ == "__main__":
    main()
