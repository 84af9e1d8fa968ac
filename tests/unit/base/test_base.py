"""The ground floor: canonical JSON, names, permits, secrets, atomic files."""

import copy
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

import vallum.base
from vallum.base import (
    InputError,
    ManualClock,
    Permit,
    RefusedError,
    Secret,
    SystemClock,
    canonical_json,
    check_name,
    digest,
    is_id,
    name_key,
    new_id,
    parse_timestamp,
    stored_time,
    timestamp,
    write_atomic,
    write_chunks_atomic,
)

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_JSON)
def test_canonical_json_is_rfc_8785(value: object) -> None:
    encoded = canonical_json(value)
    assert encoded == rfc8785.dumps(value)  # type: ignore[arg-type]  # recursive JSON type
    assert json.loads(encoded) == value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1.5, "canonical.type"),
        ({"a": {1: 2}}, "canonical.key"),
        ({"é": 1}, "canonical.key"),
        (2**53, "canonical.integer"),
        ([-(2**53)], "canonical.integer"),
        (b"x", "canonical.type"),
        ("\ud800", "canonical.text"),
    ],
)
def test_what_has_no_single_form_is_refused(value: object, code: str) -> None:
    with pytest.raises(InputError) as caught:
        canonical_json(value)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["breast-cancer", "a", "Modell_1.2", "данные", "データ"])
def test_ordinary_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "a" * 129, "../x", "a/b", "a\x00b", "a b", "-a", "a.", "a..b", "\u212bngstrom",
     "p\u0430ypal", "a\u200bb", "a\u202eb", "CON:", "a\\b", "%2e%2e"],
)  # fmt: skip
def test_dangerous_names_are_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        check_name(name)
    assert caught.value.code.startswith("name.")


def test_names_differing_by_case_only_are_one() -> None:
    assert name_key("Straße") == name_key("STRASSE")


def test_ids_are_random_and_have_the_form() -> None:
    drawn = {new_id("data") for _ in range(1000)}
    assert len(drawn) == 1000
    assert all(is_id(one) for one in drawn)
    assert not is_id("data-" + "i" * 26)


def permit(clock: ManualClock) -> Permit:
    return Permit(
        request_digest=digest(b"request"),
        entry_id="ent-1",
        principal_id="user-1",
        grants=[("data/read", "data-1")],
        lifetime_s=30.0,
        monotonic=clock.monotonic,
    )


def test_a_permit_is_good_once_for_what_it_names() -> None:
    given_permit = permit(ManualClock(SystemClock().now()))
    with pytest.raises(RefusedError, match="does not cover"):
        given_permit.require("data/write", "data-1")
    given_permit.require_valid("data-1")
    given_permit.require("data/read", "data-1")
    with pytest.raises(RefusedError, match="does not cover"):
        given_permit.require("data/read", "data-1")
    with pytest.raises(RefusedError, match="does not cover"):
        given_permit.require_valid("data-1")


def test_a_permit_expires() -> None:
    clock = ManualClock(SystemClock().now())
    given_permit = permit(clock)
    clock.advance(30.0)
    for use in (
        lambda: given_permit.require("data/read", "data-1"),
        lambda: given_permit.require_valid("data-1"),
    ):
        with pytest.raises(RefusedError, match="expired"):
            use()


def test_a_permit_can_neither_be_copied_nor_serialised_nor_subclassed() -> None:
    given_permit = permit(ManualClock(SystemClock().now()))
    for duplicate in (copy.copy, copy.deepcopy, lambda value: value.__reduce__()):
        with pytest.raises(TypeError):
            duplicate(given_permit)
    with pytest.raises(TypeError):
        type("Forged", (Permit,), {})


def test_a_secret_shows_itself_nowhere() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {secret:>10}"
    assert "hunter2" not in shown
    assert secret == Secret(b"hunter2")
    assert secret != Secret(b"hunter3")
    for use in (hash, bool, lambda value: value.__reduce__()):
        with pytest.raises(TypeError):
            use(secret)


def test_timestamps_have_one_form_and_come_back() -> None:
    now = SystemClock().now()
    assert parse_timestamp(timestamp(now)) == now
    with pytest.raises(ValueError, match="does not match"):
        parse_timestamp("2026-11-20 10:00:00")


def test_an_atomic_write_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "state"
    write_atomic(target, b"old")
    assert target.stat().st_mode & 0o777 == 0o600

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_exported_names_are_sorted_and_exist() -> None:
    assert list(vallum.base.__all__) == sorted(vallum.base.__all__)
    assert all(hasattr(vallum.base, name) for name in vallum.base.__all__)


def test_chunks_that_fail_leave_the_old_file_and_no_litter(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise InputError("the connection broke")

    target = tmp_path / "file"
    write_chunks_atomic(target, [b"o", b"ld"])
    with pytest.raises(InputError):
        write_chunks_atomic(target, broken())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "text", ["2027-01-31T00:00:00Z", "2027-01-31T01:00:00+01:00", "2027-01-31T00:00:00.000000Z"]
)
def test_times_that_people_write_become_the_one_stored_form(text: str) -> None:
    assert stored_time(text) == "2027-01-31T00:00:00.000000Z"


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-01-31T00:00:00", "2027-13-31T00:00:00Z"])
def test_what_is_no_time_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - callers say it in their own words
        stored_time(text)
