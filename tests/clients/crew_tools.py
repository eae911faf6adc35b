"""Runs under CrewAI's own environment: the governed tools of crewai-agentvalet, unmodified.

    python crew_tools.py sync

Reads JSON lines {"id", "do": "tools"} and {"id", "do": "run", "tool": <name>, "with": {…}, "patience"?: <seconds to
wait for a decision>}; prints {"id", "returned": …} or {"id", "raised", "text"}. It ends with its standard input.
"""

import json
import sys
import threading

from crewai_agentvalet import governed_tools

from agentvalet import AgentValet

_printing = threading.Lock()


def obey(order) -> None:
    skipped = []
    try:
        patience = {"approval_timeout_s": order["patience"]} if "patience" in order else {}
        with AgentValet.from_env(**patience) as valet:
            tools = {tool.name: tool for tool in governed_tools(valet, on_skip=lambda *skip: skipped.append(skip))}
            if order["do"] == "tools":
                returned = {
                    name: {"description": tool.description, "schema": tool.args_schema.model_json_schema()}
                    for name, tool in tools.items()
                }
            else:
                returned = tools[order["tool"]].run(**order["with"])
        line = {"returned": returned}
    except Exception as error:  # noqa: BLE001 - whatever it raises is the outcome
        line = {"raised": type(error).__name__, "text": str(error)}
    with _printing:
        sys.__stdout__.write(json.dumps({"id": order["id"]} | line) + "\n")
        sys.__stdout__.flush()


if __name__ == "__main__":
    sys.stdout = sys.stderr  # CrewAI prints
    for text in sys.stdin:
        threading.Thread(target=obey, args=(json.loads(text),), daemon=True).start()
