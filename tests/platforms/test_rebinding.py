"""Names that change their answer, and every spelling of an address that may not be called, in a network of their own.

There every private and metadata address has a listener that counts, and names come from a real name server that changes
its mind (`tests/fakes/small_internet.py`). It takes Linux with user namespaces.
"""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.fakes.small_internet import ADDRESSES, PUBLIC, PUBLIC_6
from tests.platforms.test_client_guard import LOOPBACK_SPELLINGS, METADATA_TARGETS
from tests.runtime.installation import ROOT

_NAMESPACES = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
NAME = "api.example"
URL = f"http://{NAME}/latest/meta-data/"

LINK_LOCAL = "fe80::1"  # no name can stand for it: connecting takes a zone id
PRIVATE = [address for address in ADDRESSES if address not in {PUBLIC, PUBLIC_6, LINK_LOCAL}]
PRIVATE += ["127.0.0.1", "127.0.0.53", "::1"]
PLAIN = [
    *PRIVATE,
    PUBLIC,
    PUBLIC_6,
    f"{LINK_LOCAL}%lo",
    "127.1",
    "0x7f.1",
    "0xa9fea9fe",
]  # what is reached without our guard

# What the name answers at the first look-up, and at every one after it.
CHANGES = {f"from public to {address}": ([PUBLIC], [address]) for address in PRIVATE} | {
    "from public to an unspecified address": ([PUBLIC], ["0.0.0.0"]),
    "from public to a mapped address": ([PUBLIC], ["::ffff:169.254.169.254"]),
    "from public to public and private": ([PUBLIC], ["203.0.113.9", "127.0.0.1"]),
}
# What one look-up answers with; nothing but the public one of them may be reached.
MIXTURES = {
    "private first": ["127.0.0.1", PUBLIC],
    "private last": [PUBLIC, "127.0.0.1"],
    "a dead public one, then a private one": ["93.184.216.35", "10.0.0.1"],
    "IPv4 public, IPv6 private": [PUBLIC, "fd00:ec2::254"],
    "IPv6 public, IPv4 private": [PUBLIC_6, "169.254.169.254"],
    "many": ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", PUBLIC],
    "another name with a private address": ["inner.example", "10.0.0.1"],
    "localhost by another name": ["localhost", "127.0.0.1"],
}
METADATA_NAMES = [
    "metadata.google.internal",
    "metadata",
    "instance-data",
    "metadata.azure.internal",
    "localhost",
    "localhost.",
]
SPELLINGS = [*LOOPBACK_SPELLINGS, *METADATA_TARGETS, "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::1]"]
SPELLINGS += ["0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "169.16689662", "[64:ff9b::7f00:1]"]
SPELLINGS += ["[fd20:ce::254]", "[fe80::1%25lo]", "[fe80::1%251]", "169.254.169.254."]
NO_HOSTS = [
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020.0.1",
    "\u2460\u2461\u2466.0.0.1",
    "loc\u00e0lhost",
    "127.0.0.1\\@x",
    "x@127.0.0.1",
]


def _cases() -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = {
        name: {"answers": {NAME: answers}, "urls": [URL, URL]} for name, answers in CHANGES.items()
    }
    cases |= {name: {"answers": {NAME: [answer]}, "urls": [URL]} for name, answer in MIXTURES.items()}
    for host in METADATA_NAMES:
        cases[host] = {"answers": {host: [["169.254.169.254"]]}, "urls": [f"http://{host}/latest/"]}
    cases |= {host: {"urls": [f"http://{host}/"]} for host in SPELLINGS + NO_HOSTS}
    cases["a listed name, private"] = {"answers": {NAME: [["10.0.0.1"]]}, "urls": [URL], "listed": [NAME]}
    cases["a listed name, metadata"] = {"answers": {NAME: [["169.254.169.254"]]}, "urls": [URL], "listed": [NAME]}
    cases["a listed name, then metadata"] = {
        "answers": {NAME: [["10.0.0.1"], ["169.254.169.254"]]}, "urls": [URL, URL], "listed": [NAME],
    }  # fmt: skip
    cases["no answer"] = {"urls": [URL]}
    return cases


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Any]:
    allowed = subprocess.run([*_NAMESPACES, "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no namespaces for a network of its own: {allowed.stderr.decode().strip()}")
    run = subprocess.run(
        [*_NAMESPACES, sys.executable, "-m", "tests.fakes.small_internet"],
        input=json.dumps({"cases": _cases(), "hosts": PLAIN}),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=True,
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_every_address_has_a_listener_that_counts(outcomes: dict[str, Any]) -> None:
    """Else nothing below would show anything."""
    assert outcomes["reachable"] == PLAIN


@pytest.mark.parametrize("change", CHANGES)
def test_a_name_that_turns_private_is_refused_before_anything_is_sent(outcomes: dict[str, Any], change: str) -> None:
    first, second = outcomes[change]["outcomes"]
    assert first == {"status": 200}
    assert (second["code"], second["may_have_been_sent"]) == ("target_refused", False)
    assert outcomes[change]["reached"] == {PUBLIC: 1}


@pytest.mark.parametrize("change", CHANGES)
def test_a_name_is_looked_up_once_for_a_call(outcomes: dict[str, Any], change: str) -> None:
    """So there is no answer to change between the check and the connection."""
    assert outcomes[change]["lookups"] == 2


@pytest.mark.parametrize("mixture", MIXTURES)
def test_of_mixed_addresses_only_a_public_one_is_reached(outcomes: dict[str, Any], mixture: str) -> None:
    (outcome,) = outcomes[mixture]["outcomes"]
    assert set(outcomes[mixture]["reached"]) <= {PUBLIC, PUBLIC_6}
    if set(MIXTURES[mixture]) & {PUBLIC, PUBLIC_6}:
        assert outcome == {"status": 200}
    else:
        assert (outcome["code"], outcome["may_have_been_sent"]) == ("target_refused", False)


@pytest.mark.parametrize("host", METADATA_NAMES)
def test_a_metadata_service_is_not_reached_by_its_name(outcomes: dict[str, Any], host: str) -> None:
    (outcome,) = outcomes[host]["outcomes"]
    assert (outcome["code"], outcome["may_have_been_sent"]) == ("target_refused", False)
    assert outcomes[host]["reached"] == {}


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_address_is_reached(outcomes: dict[str, Any], host: str) -> None:
    (outcome,) = outcomes[host]["outcomes"]
    assert outcome["code"] in {"target_refused", "connect_failed"}  # what libcurl takes for no address is not connected
    assert outcome["may_have_been_sent"] is False
    assert outcomes[host]["reached"] == {}


@pytest.mark.parametrize("host", NO_HOSTS, ids=ascii)
def test_what_only_looks_like_a_host_is_not_sent(outcomes: dict[str, Any], host: str) -> None:
    (outcome,) = outcomes[host]["outcomes"]
    assert outcome["code"] == "request_refused"
    assert outcomes[host]["reached"] == {}


def test_a_listed_name_opens_private_addresses_and_never_a_metadata_service(outcomes: dict[str, Any]) -> None:
    assert outcomes["a listed name, private"]["reached"] == {"10.0.0.1": 1}
    assert outcomes["a listed name, metadata"]["reached"] == {}
    assert outcomes["a listed name, then metadata"]["reached"] == {"10.0.0.1": 1}


def test_a_name_server_that_says_nothing_means_that_nothing_was_sent(outcomes: dict[str, Any]) -> None:
    (outcome,) = outcomes["no answer"]["outcomes"]
    assert outcome["code"] in {"connect_failed", "upstream_timeout"}
    assert outcome["may_have_been_sent"] is False
