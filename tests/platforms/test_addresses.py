"""Only public addresses are reached, and private ones the operator lists."""

import pytest

from platforms.addresses import PrivateTargets, TargetRefused, check_address, parse_private_targets

NOTHING = PrivateTargets()
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "128.0.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "198.17.0.1",
    "198.20.0.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:200::1",
    "::ffff:1.1.1.1",
    "64:ff9b::101:101",
]
NOT_PUBLIC = [
    # this host, loopback
    *["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.1.2.3", "127.255.255.254", "::", "::1"],
    # private, shared, link-local, metadata
    *["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255"],
    *["169.254.0.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"],
    *["fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "febf::1", "fec0::1"],
    # reserved, documentation, benchmarking
    *["192.0.0.1", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1"],
    *[
        "240.0.0.1",
        "255.255.255.255",
        "2001:db8::1",
        "3fff::1",
        "2001:2::1",
        "2001:10::1",
        "100::1",
        "5f00::1",
        "4000::1",
    ],
    # multicast
    *["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    # an IPv4 address inside an IPv6 one: mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo, ISATAP
    *["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "::10.0.0.1", "::1.1.1.1"],
    *["::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::7f00:1"],
    *["64:ff9b:1::101:101", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2001::1", "2001:0:7f00:1::", "fe80::5efe:7f00:1"],
    # zone ids and what is no address
    *["fe80::1%eth0", "fe80::1%25eth0", "::1%lo", "2606:4700:4700::1111%1"],
    *["", "localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1 ", "\uff11.1.1.1", "/run/x.sock"],
]


def parse(*items: str) -> PrivateTargets:
    return parse_private_targets(items)


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_is_reached(ip: str) -> None:
    check_address(ip, 443, host="api.example.com", allowed=NOTHING)


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_any_other_address_is_refused_with_a_sentence(ip: str) -> None:
    with pytest.raises(TargetRefused, match=r"^api\.example\.com .*\.$"):
        check_address(ip, 443, host="api.example.com", allowed=NOTHING)


@pytest.mark.parametrize(
    ("item", "ip", "port", "host"),
    [
        ("127.0.0.1", "127.0.0.1", 9101, "127.0.0.1"),
        ("127.0.0.1:9101", "127.0.0.1", 9101, "localhost"),
        ("127.0.0.1:9101", "::ffff:127.0.0.1", 9101, "x"),
        ("10.0.0.0/8", "10.1.2.3", 80, "intranet"),
        ("10.0.0.0/8:8443", "10.1.2.3", 8443, "intranet"),
        ("10.0.0.0/8", "64:ff9b::a00:1", 80, "intranet"),
        ("64:ff9b:1::/48", "64:ff9b:1::a00:1", 80, "intranet"),
        ("::1", "::1", 80, "localhost"),
        ("[::1]", "::1", 80, "localhost"),
        ("[::1]:9101", "::1", 9101, "localhost"),
        ("::1/128", "::1", 80, "localhost"),
        ("[fd00::/8]:443", "fd12::1", 443, "intranet"),
        ("fc00::/7", "fd12::1", 443, "intranet"),
        ("169.254.169.254", "169.254.169.254", 80, "metadata"),
        ("198.18.0.0/15", "198.18.0.1", 80, "bench"),
        ("localhost", "127.0.0.1", 80, "localhost"),
        ("localhost:9101", "::1", 9101, "LOCALHOST"),
        ("Intranet.Example", "10.0.0.1", 80, "intranet.example"),
        ("acme_chat:9101", "172.17.0.2", 9101, "acme_chat"),
        (" 10.0.0.1 ", "10.0.0.1", 80, "x"),
    ],
)
def test_a_listed_target_is_reached(item: str, ip: str, port: int, host: str) -> None:
    check_address(ip, port, host=host, allowed=parse(item))


@pytest.mark.parametrize(
    ("item", "ip", "port", "host"),
    [
        ("127.0.0.1:9101", "127.0.0.1", 9102, "127.0.0.1"),
        ("127.0.0.1", "127.0.0.2", 80, "127.0.0.1"),
        ("10.0.0.0/8", "192.168.0.1", 80, "intranet"),
        ("10.0.0.0/8", "2002:a00:1::1", 80, "intranet"),
        ("localhost:9101", "127.0.0.1", 9102, "localhost"),
        ("localhost", "127.0.0.1", 80, "evil.example"),
        ("localhost", "127.0.0.1", 80, "localhost.evil.example"),
        ("example.com", "10.0.0.1", 80, "api.example.com"),
        # a listed name never leads to these, whoever answers for it
        ("intranet", "169.254.169.254", 80, "intranet"),
        ("intranet", "::ffff:169.254.169.254", 80, "intranet"),
        ("intranet", "64:ff9b::a9fe:a9fe", 80, "intranet"),
        ("intranet", "fd00:ec2::254", 80, "intranet"),
        ("intranet", "fe80::1", 80, "intranet"),
        ("intranet", "100.100.100.200", 80, "intranet"),
        ("intranet", "168.63.129.16", 80, "intranet"),
        ("intranet", "0.0.0.0", 80, "intranet"),
        ("intranet", "224.0.0.1", 80, "intranet"),
        # nor does anything lead to what is not one machine
        ("0.0.0.0", "0.0.0.0", 80, "0.0.0.0"),
        ("224.0.0.1", "224.0.0.1", 80, "x"),
        ("ff02::1", "ff02::1", 80, "x"),
        ("::", "::", 80, "x"),
        ("fe80::/10", "fe80::1%eth0", 80, "x"),
    ],
)
def test_a_listed_target_opens_nothing_else(item: str, ip: str, port: int, host: str) -> None:
    with pytest.raises(TargetRefused):
        check_address(ip, port, host=host, allowed=parse(item))


@pytest.mark.parametrize(
    "item",
    [
        "",
        " ",
        ":80",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/7",
        "127.1",
        "0x7f.1",
        "2130706433",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:x",
        "localhost:١",
        "http://localhost",
        "a b",
        "*",
        "*.example.com",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:",
        "[localhost]:80",
        "fe80::1%eth0",
        "[fe80::1%eth0]:80",
        "-a",
        "bücher.example",
        "localhost:80:80",
        "user@localhost",
        "localhost/8",
    ],
)
def test_a_listed_target_that_means_nothing_is_refused_with_a_sentence(item: str) -> None:
    with pytest.raises(ValueError, match=r"AGENTVALET_PRIVATE_TARGETS .*\.$"):
        parse("10.0.0.0/8", item)


def test_without_tls_only_what_is_listed_is_called() -> None:
    with pytest.raises(TargetRefused, match="without TLS"):
        check_address("93.184.216.34", 80, host="api.example.com", allowed=NOTHING, plain=True)
    for item in ("api.example.com", "api.example.com:80", "93.184.216.0/24"):
        check_address("93.184.216.34", 80, host="api.example.com", allowed=parse(item), plain=True)
    with pytest.raises(TargetRefused, match="without TLS"):
        check_address("93.184.216.34", 80, host="api.example.com", allowed=parse("api.example.com:81"), plain=True)
