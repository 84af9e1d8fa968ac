"""Where a door listens."""

import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import ADDRESSES, Cabled, cabled, inside, ip

from vallum.base import InputError
from vallum.base.listening import Place, listen, listen_unix, place_of, remove_unix


@pytest.fixture(scope="module")
def cables() -> Iterator[Cabled]:
    with cabled() as made:
        yield made


def reached(address: str, port: int, *, via: str = "") -> bool:
    with socket.socket() as one:
        one.settimeout(2)
        if via:
            one.bind((via, 0))
        try:
            one.connect((address, port))
        except OSError:
            return False
        return True


@pytest.mark.allow_hosts(ADDRESSES)
def test_an_interface_is_an_address_and_nothing_else_reaches_it(cables: Cabled) -> None:
    with inside(cables.here):
        assert place_of("127.0.0.1") == Place("127.0.0.1")
        place = place_of(cables.device)
        assert place == Place(cables.address, cables.device)
        port = (bound := listen(place, 0))[0].getsockname()[1]
        for one in bound:
            one.close()
        bound = listen(place, port)
        everywhere = listen(Place(cables.address), port + 1)
        try:
            assert reached(cables.address, port)  # this machine itself, over loopback
            assert not reached("127.0.0.1", port)
            with inside(cables.there):
                assert reached(cables.address, port)
                assert not reached(cables.other_address, port)
                # The address of one interface, asked for over another: Linux would answer.
                ip("-n", cables.there, "route", "replace", f"{cables.address}/32", "via",
                   cables.other_address)  # fmt: skip
                assert reached(cables.address, port + 1, via="203.0.113.2")
                assert not reached(cables.address, port, via="203.0.113.2")
        finally:
            for one in (*bound, *everywhere):
                one.close()


def test_an_interface_without_an_address_is_refused(cables: Cabled) -> None:
    with inside(cables.here):
        ip("-n", cables.here, "link", "add", "bare0", "type", "veth", "peer", "name", "bare1")
        with pytest.raises(InputError, match="has no address"):
            place_of("bare0")


def test_a_port_that_is_taken_ends_the_start_with_a_reason() -> None:
    (first,) = listen(Place("127.0.0.1"), 0)
    with first, pytest.raises(InputError, match="cannot be bound: Address already in use"):
        listen(Place("127.0.0.1"), first.getsockname()[1])
    with pytest.raises(InputError, match="cannot be bound: Cannot assign"):
        listen(Place("192.0.2.1"), 0)
    with pytest.raises(InputError, match="no address to listen at"):
        listen(Place("no such host"), 0)


def test_a_socket_is_its_owners_alone_and_a_stale_one_goes(tmp_path: Path) -> None:
    path = tmp_path / "score.sock"
    with listen_unix(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(InputError, match="somebody listens on"):
            listen_unix(path)
    with listen_unix(path):  # what the first one left when it ended
        pass
    remove_unix(path)
    assert not path.exists()
    remove_unix(path)


def test_a_group_may_open_it(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getegid()).gr_name
    path = tmp_path / "score.sock"
    with listen_unix(path, group=group):
        held = path.stat()
        assert (stat.S_IMODE(held.st_mode), held.st_gid) == (0o660, os.getegid())
    with pytest.raises(InputError, match="no group"):
        listen_unix(path, group="nobody-is-in-it")


def test_no_socket_lies_where_others_could_put_theirs(tmp_path: Path) -> None:
    for mode in (0o770, 0o707, 0o1777):
        tmp_path.chmod(mode)
        with pytest.raises(InputError, match="others may write"):
            listen_unix(tmp_path / "score.sock")
    tmp_path.chmod(0o700)
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    for path, message in (
        (file, "no socket"),
        (tmp_path / "missing" / "s", "no folder"),
        (tmp_path / ("x" * 120), "107 bytes"),
    ):
        with pytest.raises(InputError, match=message):
            listen_unix(path)
    assert file.read_bytes() == b"kept"
    remove_unix(file)
    assert file.exists()
