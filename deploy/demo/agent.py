"""The demo's agent: the published `agentvalet` client, asking to post one message after another to Acme Chat.

It finds its identity, its key and the server in its environment (AgentValet.from_env). Each message needs a person's
approval; the agent waits for the decision, prints what came back, and asks for the next one.
"""

import contextlib
import itertools
import json
import time

from agentvalet import (
    AgentValet,
    AgentValetError,
    ApprovalDeniedError,
    ApprovalExpiredError,
    ApprovalTimeoutError,
    UpstreamError,
)

PAUSE = 3.0  # seconds between an outcome and the next message
SERVICES = ("checkout", "search", "billing", "accounts", "mail")


def say(text: str) -> None:
    print(f"agent | {text}", flush=True)


def ask(valet: AgentValet, text: str, reason: str) -> dict:
    """Post TEXT; return the platform's answer. Waits as long as the request is open."""
    try:
        return valet.call(
            platform="acme-chat",
            endpoint="/api/messages",
            method="POST",
            scope="chat:write",
            data={"channel": "#deploys", "text": text},
            reason=reason,
        )
    except ApprovalTimeoutError as waiting:
        return wait(valet, waiting.approval_id)


def wait(valet: AgentValet, approval_id: str) -> dict:
    """The platform's answer to a call that waits, however long a person takes."""
    while True:  # not a failure: the request stays open on the server
        try:
            return valet.wait_for_approval(approval_id)
        except ApprovalTimeoutError:
            say("still waiting for a decision")


def main() -> None:
    with AgentValet.from_env() as valet:
        left = [waiting["approval_id"] for waiting in valet.pending_actions()["pending"]]
        for number in itertools.count(1):
            service = SERVICES[number % len(SERVICES)]
            version = f"2.{time.time_ns() // 1_000_000_000 % 100_000}"
            try:
                if left:
                    say("waits for what an earlier run asked for")
                    answer = wait(valet, left.pop())
                else:
                    say(f"asks to post: {service} {version} is live")
                    answer = ask(valet, f"{service} {version} is live", f"Announce release {version} of {service}")
            except ApprovalDeniedError as denied:
                say(f"denied: {denied}")
            except ApprovalExpiredError:
                say("expired: nobody decided in time")
            except UpstreamError as failed:
                say(f"approved, but the platform answered {failed.status}: {failed.data}")
            except AgentValetError as failed:
                say(f"failed: {failed}")
            else:
                say(f"approved: the platform answered {json.dumps(answer['data'])}")
            time.sleep(PAUSE)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
