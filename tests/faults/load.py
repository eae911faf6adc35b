"""Many agents that ask and people who decide, at once, through whatever is killed meanwhile. A process of its own.

    python -m tests.faults.load PLAN

PLAN is a JSON file (`tests.faults.storm`). What each was told is added to the plan's file `answers`, a JSON line each.
What is done with the call number N follows from the seed and N alone.
"""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from time import sleep
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from tests.faults.people import Agent, Person

KINDS = {"approve": 62, "deny": 12, "leave": 10, "race": 16}
ENDPOINTS = {"/api/messages": 74, "/slow/0.2": 19, "/status/503": 7}
RECORDED = {"approve": 200, "deny": 200}


class Load:
    """Takes one number after the other, in several threads."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self._answers = Path(plan["answers"]).open("a", buffering=1)  # noqa: SIM115 - open as long as the process
        self._numbers: Iterator[int] = count()
        self._lock = threading.Lock()
        self._people = [
            Person.signed_in(plan["port"], email=email, password=plan["password"]) for email in plan["deciders"]
        ]
        self._broker = Celery(broker=plan["broker"], set_as_current=False)
        self._broker.conf.broker_transport_options = {
            "socket_timeout": 1,
            "socket_connect_timeout": 1,
            "max_retries": 0,
        }

    def work(self, thread: int) -> None:
        """Until there is no number left."""
        plan, people = self.plan, [person.in_another_window() for person in self._people]
        agent_id = plan["agents"][thread % len(plan["agents"])]
        agent = Agent(plan["port"], agent_id=agent_id, owner_id=plan["owner_id"], key=plan["key"])
        with ThreadPoolExecutor(2) as pair:
            while (number := self._next()) < plan["approvals"]:
                self._one(Random(f"{plan['seed']} {number}"), number, agent, people, pair)

    def _one(self, rng: Random, number: int, agent: Agent, people: list[Person], pair: ThreadPoolExecutor) -> None:
        (kind,), (endpoint,) = _pick(rng, KINDS), _pick(rng, ENDPOINTS)
        approval_id = agent.ask(endpoint, {"seed": self.plan["seed"], "number": number})
        self._note(approval_id=approval_id, kind=kind)
        one, other = rng.sample(people, 2)
        digest = "" if kind == "leave" else one.digest_of(approval_id)
        if not digest:
            return
        if kind == "race":
            verbs = [rng.choice(["approve", "deny"]) for _ in range(2)]
            clicks = [
                pair.submit(self._click, who, verb, approval_id, digest)
                for who, verb in zip((one, other), verbs, strict=True)
            ]
            for click in clicks:
                click.result()
        else:
            self._click(one, kind, approval_id, digest)
        if rng.random() < 0.1:
            self._tell_again(approval_id, times=rng.randint(1, 5))

    def _click(self, who: Person, verb: str, approval_id: str, digest: str) -> None:
        """Until there is an answer that says how it stands."""
        while True:
            status = who.decide(verb, approval_id, digest)
            self._note(approval_id=approval_id, verb=verb, by=who.email, status=status)
            if status not in {0, 500, 502, 503}:
                return
            sleep(0.1)

    def _tell_again(self, approval_id: str, *, times: int) -> None:
        with suppress(OperationalError, OSError):
            for _ in range(times):
                self._broker.send_task("approvals.execute", kwargs={"approval_id": approval_id}, retry=False)

    def _next(self) -> int:
        with self._lock:
            return next(self._numbers)

    def _note(self, **line: Any) -> None:
        with self._lock:
            self._answers.write(json.dumps(line) + "\n")


def _pick(rng: Random, weights: dict[str, int]) -> list[str]:
    return rng.choices(list(weights), list(weights.values()))


if __name__ == "__main__":
    load = Load(json.loads(Path(sys.argv[1]).read_text()))
    with ThreadPoolExecutor(load.plan["threads"]) as threads:
        for done in [threads.submit(load.work, number) for number in range(load.plan["threads"])]:
            done.result()
