"""Proxies that are believed about their clients."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError, Networks
from vallum.base.networks import UNIX_PEER
from vallum.base.proxies import Proxies

PROXIES = Proxies(["10.0.0.0/8", "2001:db8::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", b"198.51.100.7", "192.0.2.1"),  # no proxy of ours: what it says is nothing
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", b"1.2.3.4, 198.51.100.7", "198.51.100.7"),  # the client's own claim
        ("10.0.0.1", b"198.51.100.7,10.0.0.2 , 10.0.0.3", "198.51.100.7"),
        ("10.0.0.1", b"10.0.0.9,10.0.0.2", "10.0.0.9"),  # a client beside the proxies
        ("10.0.0.1", b"198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::1", b"[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::1", b"2001:DB8:0::7", "2001:db8::7"),
        (UNIX_PEER, b"198.51.100.7", UNIX_PEER),
    ],
)
def test_the_last_address_that_no_trusted_proxy_has_is_the_client(
    peer: str, forwarded: bytes, client: str
) -> None:
    assert PROXIES.client(peer, forwarded) == client


def test_a_proxy_behind_the_socket_is_trusted_only_by_name() -> None:
    assert Proxies(["unix"]).client(UNIX_PEER, b"198.51.100.7") == "198.51.100.7"
    assert Proxies(["unix"]).client("127.0.0.1", b"198.51.100.7") == "127.0.0.1"
    with pytest.raises(InputError, match="no network"):
        Proxies(["everybody"])


@pytest.mark.parametrize(
    "forwarded",
    [b"unknown", b",", b"198.51.100.7,", b"_hidden", b"1.2.3", b"\xff", b"1.2.3.4:x", b"unix",
     b"10.0.0.1," * 40 + b"1.2.3.4"],
)  # fmt: skip
def test_a_list_that_is_none_is_refused_not_guessed(forwarded: bytes) -> None:
    with pytest.raises(InputError, match="no list of addresses"):
        PROXIES.client("10.0.0.1", forwarded)


@given(forwarded=st.binary(max_size=80))
def test_who_is_no_proxy_changes_nothing_by_what_it_sends(forwarded: bytes) -> None:
    assert PROXIES.client("192.0.2.1", forwarded) == "192.0.2.1"


def test_a_peer_of_the_socket_is_local() -> None:
    assert UNIX_PEER in Networks(["127.0.0.0/8"])
    assert UNIX_PEER in Networks(["::1"])
    assert UNIX_PEER not in Networks(["192.0.2.0/24"])
    assert UNIX_PEER in Networks([])
