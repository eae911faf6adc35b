"""Runs under a published client's own environment: does what it is told with the client, unmodified, many at a time.

    python calls.py sync|async

Reads JSON lines {"id", "do": <method of the client>, "with": {…}, "bearer"?: <token>} and prints JSON lines: {"id",
"progress": …} while it waits, then {"id", "returned": …} or {"id", "raised", "text", "approval_id"?, "status"?}.
The client is built with AgentValet.from_env(), or from_bearer() with the token. It ends with its standard input.
"""

import asyncio
import dataclasses
import json
import os
import sys
import threading

from agentvalet import AgentValet, AsyncAgentValet

_printing = threading.Lock()


def say(**line) -> None:
    with _printing:
        print(json.dumps(line), flush=True)


def build(kind, command):
    options = {"on_approval_pending": lambda news: say(id=command["id"], progress=news)}
    if token := command.get("bearer"):
        return kind.from_bearer(token, proxy_url=os.environ["AGENTVALET_PROXY_URL"], **options)
    return kind.from_env(**options)


def returned(command, value) -> None:
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    say(id=command["id"], returned=value)


def raised(command, error) -> None:
    known = {name: getattr(error, name) for name in ("approval_id", "status", "body") if hasattr(error, name)}
    say(id=command["id"], raised=type(error).__name__, text=str(error), **known)


def do(command) -> None:
    try:
        with build(AgentValet, command) as valet:
            value = getattr(valet, command["do"])(**command.get("with", {}))
    except Exception as error:  # noqa: BLE001 - whatever the client raises is the outcome
        raised(command, error)
    else:
        returned(command, value)


async def do_async(command) -> None:
    try:
        async with build(AsyncAgentValet, command) as valet:
            value = await getattr(valet, command["do"])(**command.get("with", {}))
    except Exception as error:  # noqa: BLE001 - whatever the client raises is the outcome
        raised(command, error)
    else:
        returned(command, value)


async def main_async() -> None:
    loop = asyncio.get_running_loop()
    tasks = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(do_async(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    if sys.argv[1] == "async":
        asyncio.run(main_async())
    else:
        for line in sys.stdin:
            threading.Thread(target=do, args=(json.loads(line),), daemon=True).start()
