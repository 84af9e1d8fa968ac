"""Networks of callers."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError, Networks, check_networks, network_of


def test_networks_are_kept_in_one_form() -> None:
    assert check_networks(["192.0.2.7", "2001:DB8::/32", "192.0.2.7/32"]) == (
        "192.0.2.7/32",
        "2001:db8::/32",
    )


@pytest.mark.parametrize("text", ["", "here", "192.0.2.1/24", "192.0.2.0/33", "10.0.0.0/8 "])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no network"):
        check_networks([text])


def test_too_many_are_refused() -> None:
    with pytest.raises(InputError, match="more than 64"):
        check_networks(f"10.0.0.{at}" for at in range(65))


def test_without_networks_everybody_is_in() -> None:
    everywhere = Networks(())
    assert "192.0.2.1" in everywhere
    assert "unix" in everywhere
    assert "here" not in Networks(("0.0.0.0/0", "::/0"))


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_in_its_network_however_it_is_written(
    address: ipaddress.IPv4Address, prefix: int
) -> None:
    network = ipaddress.ip_network((address, prefix), strict=False)
    within = Networks((str(network),))
    assert str(address) in within
    assert f"::ffff:{address}" in within
    assert str(ipaddress.IPv6Address(int(address))) not in within


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(1, 32))
def test_an_address_elsewhere_is_not(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address, prefix: int
) -> None:
    network = ipaddress.ip_network((one, prefix), strict=False)
    assert (str(other) in Networks((str(network),))) == (other in network)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("unix", "unix"),
    ],
)
def test_callers_are_counted_by_their_site(address: str, network: str) -> None:
    assert network_of(address) == network
