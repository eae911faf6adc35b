"""A whole small network in namespaces of its own: addresses of every kind, a name server that changes its mind, listeners.

    unshare --user --map-root-user --net --mount python -m tests.fakes.small_internet  < cases.json  > outcomes.json

The loopback interface of the new network gets every address of ADDRESSES, and whatever is sent to port 80 of one of them
is answered and counted. Names are looked up as anywhere: by the C library, over UDP, from the server in
/etc/resolv.conf, which is the one below. Each call is made by `platforms.client.send` in a thread of its own, as by
another thread of the web server: libcurl remembers an address for a minute.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from django.conf import settings

PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:4700::1"
ADDRESSES = [
    PUBLIC, "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1", "172.16.0.1", "192.168.0.1",
    "100.64.0.1", "198.18.0.1", "203.0.113.1", PUBLIC_6, "fd00:ec2::254", "fd20:ce::254", "fc00::1", "fe80::1",
    "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
]  # fmt: skip
_NAME_SERVER = "127.0.0.53"
_SET_ADDRESS, _SET_MASK, _SET_FLAGS = 0x8916, 0x891C, 0x8914  # <linux/sockios.h>
_UP, _LOOPBACK, _RUNNING = 0x1, 0x8, 0x40
_A, _CNAME, _AAAA = 1, 5, 28

Answers = dict[str, list[list[str]]]  # for each name what its first, second … look-up gets; the last one stays


def bring_up() -> None:
    """Give the loopback interface its addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP | _LOOPBACK | _RUNNING))
        for number, address in enumerate(each for each in ADDRESSES if ":" not in each):
            for request, value in ((_SET_ADDRESS, address), (_SET_MASK, "255.255.255.255")):
                alias = struct.pack("16sHH4s8x", b"lo:%d" % number, socket.AF_INET, 0, socket.inet_aton(value))
                fcntl.ioctl(control, request, alias)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        for address in (each for each in ADDRESSES if ":" in each):
            packed = socket.inet_pton(socket.AF_INET6, address)
            fcntl.ioctl(control, _SET_ADDRESS, struct.pack("16sIi", packed, 128, socket.if_nametoindex("lo")))
    with tempfile.TemporaryDirectory() as directory:  # the mounts keep what they show
        for name, text in (
            ("resolv.conf", f"nameserver {_NAME_SERVER}\noptions timeout:1 attempts:1\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
        ):
            file = Path(directory) / name
            file.write_text(text)
            subprocess.run(["mount", "--bind", str(file), f"/etc/{name}"], check=True)


class NameServer:
    """Answers UDP queries of A and AAAA out of `answers`; a name that is not there gets no answer at all."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: Counter[tuple[str, int]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((_NAME_SERVER, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, peer = self._socket.recvfrom(512)
            name, end = _name_in(query)
            kind = struct.unpack("!H", query[end : end + 2])[0]
            if name not in self.answers:
                continue
            turn = min(self.asked[name, kind], len(self.answers[name]) - 1)
            self.asked[name, kind] += 1
            records = _records(self.answers[name][turn], kind)
            header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0)
            self._socket.sendto(header + query[12 : end + 4] + b"".join(records), peer)


def _name_in(query: bytes) -> tuple[str, int]:
    """The name that is asked for, and where it ends."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    return ".".join(labels), at + 1


def _records(values: list[str], kind: int) -> list[bytes]:
    """Records without life time. A name among the values is an alias, and what comes after it is said of that name."""
    records, owner = [], b"\xc0\x0c"  # the name that is asked for
    for value in values:
        try:
            address = ip_address(value)
        except ValueError:
            alias = b"".join(bytes([len(label)]) + label.encode() for label in value.split(".")) + b"\0"
            records.append(owner + struct.pack("!HHIH", _CNAME, 1, 0, len(alias)) + alias)
            owner = alias
        else:
            if kind == {4: _A, 6: _AAAA}[address.version]:
                records.append(owner + struct.pack("!HHIH", kind, 1, 0, len(address.packed)) + address.packed)
    return records


class Listeners:
    """Port 80 of every address: answers each request with {} and counts connections by where they were made to."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        for family, everywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listener = socket.socket(family)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((everywhere, 80))
            listener.listen(64)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with suppress(OSError), connection:
                self.reached[connection.getsockname()[0].partition("%")[0]] += 1
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


def outcome_of(url: str) -> dict[str, Any]:
    """What comes of one call with a credential."""
    from platforms.client import PlatformUnreachable, send  # noqa: PLC0415 - it wants settings

    outcome: dict[str, Any] = {}

    def call() -> None:
        headers = [("Authorization", "Bearer s3cret")]
        try:
            response = send(method="POST", url=url, headers=headers, body=b"{}", timeout=5, max_response_bytes=1000)
            outcome.update(status=response.status)
        except PlatformUnreachable as error:
            outcome.update(code=error.code, may_have_been_sent=error.may_have_been_sent)
        except ValueError as error:
            outcome.update(code="request_refused", may_have_been_sent=False, sentence=str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return outcome


def reaches(host: str) -> bool:
    """Whether a plain connection, without our guard, gets to a listener."""
    try:
        with socket.create_connection((host, 80), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def main() -> None:
    bring_up()
    settings.configure(PRIVATE_TARGETS=[], CA_BUNDLE="")
    names, listeners = NameServer(), Listeners()
    wanted = json.load(sys.stdin)
    results: dict[str, Any] = {"reachable": [host for host in wanted["hosts"] if reaches(host)]}
    for name, case in wanted["cases"].items():
        names.answers, names.asked = case.get("answers", {}), Counter()
        settings.PRIVATE_TARGETS = case.get("listed", [PUBLIC, PUBLIC_6])  # nobody speaks TLS here
        listeners.reached.clear()
        outcomes = [outcome_of(url) for url in case["urls"]]
        results[name] = {
            "outcomes": outcomes,
            "reached": dict(listeners.reached),
            "lookups": sum(count for (_, kind), count in names.asked.items() if kind == _A),
        }
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
