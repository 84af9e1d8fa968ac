"""Hosts that code may connect to, and the addresses that are kept back whatever a name says."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vallum.base import InputError, check_networks
from vallum.base.egress import check_host, host_and_port, is_address, kept_back


@pytest.mark.parametrize(
    ("text", "host", "address"),
    [
        ("Features.Example.com", "features.example.com", False),
        ("localhost", "localhost", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("2001:DB8:0::1", "2001:db8::1", True),
        ("::1", "::1", True),
    ],
)
def test_a_host_has_one_form(text: str, host: str, address: bool) -> None:  # noqa: FBT001 - a parameter
    assert check_host(text) == host
    assert is_address(host) is address


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a..b", "example.com.", ".example.com", "*.example.com", "a b", "a/b", "a@b",
        "-a.example", "a-.example", "a_b.example", "a" * 64, ".".join(["a" * 60] * 5),
        "bücher.example", "\u212aelvin.example",  # small letters would make a plain `k` of it
        "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "010.0.0.1", "1.2.3.4.5",
        "256.0.0.1", "example.0x", "1.2.3", "127.0.0.1\n",
        "[::1]", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "fe80::1%eth0", "::1:",
        "example.com:443", "a\0b",
    ],
)  # fmt: skip
def test_what_could_be_read_as_another_host_is_none(text: str) -> None:
    with pytest.raises(InputError) as caught:
        check_host(text)
    assert caught.value.code == "egress.host"


@given(st.text(max_size=40) | st.from_regex(r"[0-9a-fx.:\[\]%]{0,30}"))
@example("0x7f.0.0.1")
def test_a_checked_host_is_a_fixed_point_and_no_hidden_address(text: str) -> None:
    try:
        host = check_host(text)
    except InputError:
        return
    assert check_host(host) == host
    assert is_address(host) == _parses(host)


def _parses(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def test_a_host_and_port_are_written_as_in_a_url() -> None:
    assert host_and_port("::1", 443) == "[::1]:443"
    assert host_and_port("a.example", 443) == "a.example:443"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
        "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1",
        "fe80::1%1", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "192.0.0.192",
        "10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "fec0::1",
        "0.0.0.0", "0.1.2.3",  # noqa: S104 - it is kept back
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "ff02::1",
        "::10.0.0.1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1", "198.18.0.1",
        "192.0.2.1", "64:ff9b:1::1", "", "localhost", "127.1",
    ],
)  # fmt: skip
def test_a_name_leads_to_public_addresses_only(address: str) -> None:
    assert kept_back(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_a_public_address_is_connected_to(address: str) -> None:
    assert kept_back(address) == ""
    assert kept_back(address, own=True)


def test_networks_of_a_rule_say_where_the_addresses_lie() -> None:
    rule = check_networks(["10.0.0.0/8", "100.64.0.0/10", "fd00::/8"])
    for inside in ("10.1.2.3", "::ffff:10.1.2.3", "100.64.0.1", "fd12::1"):
        assert kept_back(inside, rule) == ""
        assert kept_back(inside, rule, own=True)
    # A metadata service is not meant by the network around it, nor is what is outside of all.
    for outside in ("100.100.100.200", "fd00:ec2::254", "1.1.1.1", "192.168.1.1", "169.254.1.1"):
        assert kept_back(outside, rule)
    assert kept_back("127.0.0.1", ["127.0.0.0/8"])
    assert kept_back("64:ff9b::a00:1", rule) == ""
    assert kept_back("64:ff9b::c0a8:101", rule)


def test_one_address_that_a_rule_names_is_approved_whatever_it_is() -> None:
    for address in ("127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "10.0.0.1"):
        rule = check_networks([address])
        assert kept_back(address, rule, own=True) == ""
        assert kept_back("10.0.0.2", rule)
    assert kept_back("0.0.0.0", ["0.0.0.0/32"])  # noqa: S104 - nobody listens at it


@given(st.ip_addresses())
def test_nothing_counts_as_public_that_the_registries_keep_back(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if kept_back(str(address)) == "":
        found = getattr(address, "ipv4_mapped", None) or address
        assert found.is_global
        assert not found.is_multicast
        assert not found.is_link_local


@given(st.ip_addresses(v=4), st.lists(st.ip_addresses(v=4).map(str), max_size=3))
def test_ipv4_is_judged_alike_however_it_arrives(
    address: ipaddress.IPv4Address, named: list[str]
) -> None:
    networks = check_networks(named)
    assert kept_back(str(address), networks) == kept_back(f"::ffff:{address}", networks)
