"""Runs under the demo agent's own environment: the published client, unmodified, making the calls it is told.

    python asking_agent.py '{"endpoint": …, "data": …}'

Prints one JSON line: {"returned": …} or {"raised": "ApprovalDeniedError", "text": …}.
"""

import json
import sys

from agentvalet import AgentValet, AgentValetError, ApprovalTimeoutError

call = {"platform": "acme-chat", "method": "POST", "scope": "chat:write"} | json.loads(sys.argv[1])

with AgentValet.from_env() as valet:
    try:
        try:
            outcome = {"returned": valet.call(**call)}
        except ApprovalTimeoutError as waiting:
            outcome = {"returned": valet.wait_for_approval(waiting.approval_id)}
    except AgentValetError as error:
        outcome = {"raised": type(error).__name__, "text": str(error)}
print(json.dumps(outcome))
