"""AWS KMS at the edge of the world: moto's server in a process of its own, with real AES-GCM and contexts.

    python key_service.py [PORT]

It prints its port, and ends with its parent (its standard input closes). Its keys are in memory.
"""

import logging
import sys

from moto.moto_server.threaded_moto_server import ThreadedMotoServer

if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=int((sys.argv[1:] or ["0"])[0]), verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
