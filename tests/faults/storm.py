"""Random kills under load, from a seed, and the account of it in the end."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from agentvalet import embedded, processes
from crash_points import Point
from tests.faults.site import DECIDERS, PASSWORD, WORKERS, Site
from tests.runtime.installation import ROOT, eventually
from tests.world import private_key


@dataclass(frozen=True)
class Account:
    """What the judge has found, and what was killed."""

    seed: int
    seconds: float
    found: dict[str, int]
    violations: dict[str, int]  # what must not be, with how often it was
    details: list[str]
    kills: Counter[str]

    @property
    def holds(self) -> bool:
        return not any(self.violations.values())

    def __str__(self) -> str:
        lines = [f"{name:<40}{number:>7}" for name, number in (self.found | self.violations).items()]
        lines += [f"{'killed: ' + name:<40}{number:>7}" for name, number in sorted(self.kills.items())]
        lines += [*self.details, f"{self.seconds:.0f} s; again with FAULTS_SEED={self.seed}"]
        return "\n".join(lines)


def storm(site: Site, *, approvals: int, seed: int, calm: int, patience: float, threads: int = 6) -> Account:
    """Kill things until APPROVALS calls have been asked for and decided on; then wait and count.

    `calm` is the most calls that are asked for between two faults, `patience` how many seconds rows may take to end
    after the last. What happens, in which order and after how many calls follows from the seed; how far each process
    has come by then does not.
    """
    began = time.monotonic()
    rng = Random(seed)
    site.platform.log.write_text("")
    kills_before = len(site.kills.read_text().splitlines())
    load = _start_load(site, approvals=approvals, seed=seed, threads=threads)
    faults = _faults(site, rng)
    due = rng.randint(1, calm)
    while load.poll() is None:
        if _asked(site) >= due:
            next(faults)()
            due += rng.randint(1, calm)
            time.sleep(rng.uniform(0, 0.7))
        _mend(site)
        time.sleep(0.1)
    assert load.returncode == 0, (site.data / "log" / "load.log").read_text()
    site.disarm()
    _mend(site)
    assert site.is_whole(patience=60)
    eventually(lambda: not site.rows(
        "SELECT 1 FROM approvals_approvalrequest WHERE decision = 'pending' AND expires_at < now() + %s::interval"
        " OR decision = 'approved' AND executed_at IS NULL", "60 s"
    ), patience=patience)  # fmt: skip
    verdict = json.loads(
        site.run("-m", "tests.faults.judge", str(site.top / "answers.jsonl"), str(site.platform.log), str(site.top))
    )
    noted = [json.loads(line)["name"] for line in site.kills.read_text().splitlines()[kills_before:]]
    return Account(
        seed=seed,
        seconds=time.monotonic() - began,
        found=verdict["found"],
        violations=verdict["violations"],
        details=verdict["details"],
        kills=Counter(noted),
    )


def _asked(site: Site) -> int:
    """How many calls have been asked for by now."""
    return (site.top / "answers.jsonl").read_text().count('"kind"')


def _start_load(site: Site, *, approvals: int, seed: int, threads: int) -> "subprocess.Popen[bytes]":
    answers = site.top / "answers.jsonl"
    answers.write_text("")
    plan = site.top / "plan.json"
    socket = embedded.redis_url(site.data).removeprefix("unix://")
    plan.write_text(
        json.dumps(
            {
                "port": site.port,
                "agents": site.agents,
                "owner_id": site.owner_id,
                "key": private_key("faults"),
                "deciders": DECIDERS[:2] if approvals < 100 else DECIDERS,
                "password": PASSWORD,
                "broker": f"redis+socket://{socket}",
                "answers": str(answers),
                "approvals": approvals,
                "seed": seed,
                "threads": threads,
            }
        )
    )
    with embedded.open_log(site.data, "load").open("wb") as output:
        return processes.spawn(
            argv=[sys.executable, "-m", "tests.faults.load", plan], output=output, env=site.env, cwd=ROOT
        )


def _faults(site: Site, rng: Random) -> Iterator[Callable[[], None]]:
    """What happens, for ever: each once in every round, so that none is rare. Half of it happens to workers."""

    def kill(name: str) -> Callable[[], None]:
        return lambda: site.kill(name)

    def arm() -> None:
        site.arm(rng.choice(list(Point)))

    def kill_both_workers() -> None:
        for name in WORKERS:
            site.kill(name)

    faults = [
        *[kill(name) for name in (*WORKERS, *WORKERS, "web", "sweeper", "messenger", "beat 1", "beat 2")],
        *[arm] * 6,
        kill_both_workers,
        site.kill_servant_of_web,
        site.kill_valkey,
        site.kill_postgres,
        site.shut_postgres_down_at_once,
        site.kill_a_backend,
    ]
    while True:
        rng.shuffle(faults)
        yield from faults


def _mend(site: Site) -> None:
    for server in (site.postgres, site.valkey):
        if server.process is not None and server.process.poll() is not None:
            server.start()
    site.mend()
