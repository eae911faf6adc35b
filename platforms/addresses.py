"""Which network addresses may be connected to: public ones, and those the operator lists.

The tables follow the IANA special-purpose address registries (RFC 6890) and are written out, because what
Python calls global has changed between patch releases.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Never a target, whatever is listed: these do not name one machine.
_NEVER = (
    (IPv4Network("0.0.0.0/8"), "an unspecified address"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv6Network("::/128"), "an unspecified address"),
    (IPv6Network("ff00::/8"), "a multicast address"),
)
# Listed by address only. A listed host name does not open these: whoever answers for the name would reach the
# credentials of the machine itself.
_BY_ADDRESS_ONLY = (
    (IPv4Network("169.254.0.0/16"), "a link-local address"),  # and the metadata services of most clouds
    (IPv4Network("100.100.100.200/32"), "a metadata service"),  # Alibaba Cloud
    (IPv4Network("168.63.129.16/32"), "a metadata service"),  # Azure, inside public space
    (IPv4Network("192.0.0.0/24"), "a reserved address"),  # and the metadata service of Oracle Cloud
    (IPv6Network("fe80::/10"), "a link-local address"),
    (IPv6Network("fd00:ec2::/32"), "a metadata service"),  # AWS
    (IPv6Network("fd20:ce::/32"), "a metadata service"),  # Google Cloud
)
_PRIVATE = (
    (IPv4Network("10.0.0.0/8"), "a private address"),
    (IPv4Network("100.64.0.0/10"), "a shared carrier address"),
    (IPv4Network("127.0.0.0/8"), "a loopback address"),
    (IPv4Network("172.16.0.0/12"), "a private address"),
    (IPv4Network("192.168.0.0/16"), "a private address"),
    (IPv6Network("::1/128"), "a loopback address"),
    (IPv6Network("fc00::/7"), "a private address"),
)
_RESERVED = (
    (IPv4Network("192.0.2.0/24"), "a documentation address"),
    (IPv4Network("192.88.99.0/24"), "a 6to4 relay"),
    (IPv4Network("198.18.0.0/15"), "a benchmarking address"),
    (IPv4Network("198.51.100.0/24"), "a documentation address"),
    (IPv4Network("203.0.113.0/24"), "a documentation address"),
    (IPv4Network("240.0.0.0/4"), "a reserved address"),
    (IPv6Network("2001::/32"), "a Teredo address"),
    (IPv6Network("2001::/23"), "a reserved address"),
    (IPv6Network("2001:db8::/32"), "a documentation address"),
    (IPv6Network("2002::/16"), "a 6to4 address"),
    (IPv6Network("3fff::/20"), "a documentation address"),
)
_GLOBAL_V6 = IPv6Network("2000::/3")  # the only range IANA hands out; NAT64 of other addresses is unwrapped
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; its local form 64:ff9b:1::/48 (RFC 8215) is not global
_WIDEST = {4: 8, 6: 7}  # the shortest prefix that may be listed: 10.0.0.0/8, fc00::/7
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?")


class TargetRefused(Exception):
    """The address may not be connected to; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class ListedTarget:
    """One item of AGENTVALET_PRIVATE_TARGETS: a host name or a network, and a port or None for every port."""

    host: str | None
    network: Network | None
    port: int | None


@dataclass(frozen=True, slots=True)
class PrivateTargets:
    """What the operator lists in AGENTVALET_PRIVATE_TARGETS."""

    listed: tuple[ListedTarget, ...] = ()


def parse_private_targets(items: Iterable[str]) -> PrivateTargets:
    """The targets in `host-or-cidr[:port]` items; an IPv6 address with a port is written [::1]:8080.

    Raises ValueError with a sentence for the first item that is not one.
    """
    return PrivateTargets(listed=tuple(_parse_target(item.strip()) for item in items))


def check_address(ip: str, port: int, *, host: str, allowed: PrivateTargets, plain: bool = False) -> None:
    """Raises TargetRefused unless a connection to `ip`:`port`, reached under the name `host`, may be opened.

    Globally routable unicast may; a listed network opens what it contains; a listed name opens loopback and
    private addresses, not link-local and metadata ones. Addresses inside addresses (IPv4-mapped, NAT64) count as
    the inner one. With `plain`, which is http without TLS, nothing may but what is listed, by address or by name.
    """
    if "%" in ip:
        raise TargetRefused(f"{host} resolves to {ip}, an address with a zone id.")
    try:
        outer = ip_address(ip)
    except ValueError:
        raise TargetRefused(f"{host} resolves to something that is not an IP address.") from None
    address = _unwrap(outer)
    kind = _kind(address, _NEVER)
    if kind is None:
        if any(_lists_network(target, {outer, address}, port) for target in allowed.listed):
            return
        kind = _kind(address, _BY_ADDRESS_ONLY)
    if kind is None:
        kind = _kind(address, _PRIVATE)
        if kind and any(_lists_host(target, host, port) for target in allowed.listed):
            return
    if kind is None:
        kind = _kind(address, _RESERVED)
    if kind is None and isinstance(address, IPv6Address) and address not in _GLOBAL_V6:
        kind = "a reserved address"
    if kind is not None:
        where = f"{ip} is" if host == ip else f"{host} resolves to {ip},"
        raise TargetRefused(f"{where} {kind}: it is called only if AGENTVALET_PRIVATE_TARGETS lists it.")
    if plain and not any(_lists_host(target, host, port) for target in allowed.listed):
        raise TargetRefused(
            f"{host} is to be called without TLS (http://), which only AGENTVALET_PRIVATE_TARGETS allows."
        )


def _unwrap(address: Address) -> Address:
    """The IPv4 address that packets to an IPv4-mapped or NAT64 address end at; others as they are."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: Address, table: Iterable[tuple[Network, str]]) -> str | None:
    return next((kind for network, kind in table if address in network), None)


def _lists_network(target: ListedTarget, addresses: set[Address], port: int) -> bool:
    return (
        target.network is not None
        and target.port in {None, port}
        and any(address in target.network for address in addresses)
    )


def _lists_host(target: ListedTarget, host: str, port: int) -> bool:
    return target.host is not None and target.host == host.lower() and target.port in {None, port}


def _parse_target(item: str) -> ListedTarget:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", item)
    if bracketed:
        name, port = bracketed[1], bracketed[2]
    elif item.count(":") == 1:
        name, port = item.split(":")
    else:
        name, port = item, None
    number = None
    if port is not None:
        if not re.fullmatch(r"[1-9][0-9]{0,4}", port, re.ASCII) or int(port) > 65535:
            raise ValueError(f"{item!r} in AGENTVALET_PRIVATE_TARGETS has a port outside 1 to 65535.")
        number = int(port)
    try:
        network = ip_network(name)
    except ValueError:
        network = None
    if network is not None and "%" not in name:
        if network.prefixlen < _WIDEST[network.version]:
            raise ValueError(f"{item!r} in AGENTVALET_PRIVATE_TARGETS is too wide: list less.")
        return ListedTarget(host=None, network=network, port=number)
    name = name.lower()
    # A last label that is a number makes resolvers read the name as an address: 127.1, 0x7f.1.
    numeric = re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2])
    if bracketed or numeric or not _HOST_NAME.fullmatch(name):
        raise ValueError(
            f"{item!r} in AGENTVALET_PRIVATE_TARGETS is not host-or-cidr[:port],"
            " as in 127.0.0.1:9101 or 10.20.0.0/16:443."
        )
    return ListedTarget(host=name, network=None, port=number)
