"""Our own functions over hostile bytes: one subject, one bounded report, no verdict on doubt."""

import gc
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import GateError, InputError, UnavailableError, VallumError
from vallum.sandbox import CHECK_LIMITS, BubblewrapRunner, Check, Limits, run_check
from vallum.sandbox.check import _decode
from vallum.sandbox.watch import Ending

DIGEST = "vallum.base.ids:digest"
BOUNDS = "vallum.base.bounds:JsonBounds"  # a callable with a second argument
JSON = "vallum.formats.document:load_json"
TABLE = frozenset({DIGEST, BOUNDS, JSON})
OF_ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ENDED_WELL = Ending(0, "", 0.1, 0)


def narrow(**limits: float) -> Limits:
    return msgspec.structs.replace(CHECK_LIMITS, **limits)


def test_a_report_comes_back_decoded(runner: BubblewrapRunner) -> None:
    assert run_check(runner, DIGEST, b"abc", report_type=str, allowed=TABLE) == OF_ABC


def test_arguments_pass(runner: BubblewrapRunner) -> None:
    found = run_check(
        runner, BOUNDS, b"x", report_type=dict, allowed=TABLE, arguments={"max_depth": 5}
    )
    assert (found["max_bytes"], found["max_depth"]) == (b"x", 5)


def test_a_payload_larger_than_a_socket_buffer_passes(runner: BubblewrapRunner) -> None:
    payload = bytes(5 << 20)
    found = run_check(runner, DIGEST, payload, report_type=str, allowed=TABLE)
    assert found.startswith("sha256:")


def test_a_started_check_serves_once(runner: BubblewrapRunner) -> None:
    with Check.start(runner, DIGEST, allowed=TABLE) as check:
        assert check.serve(b"abc", str) == OF_ABC
        with pytest.raises(GateError, match="has served"):
            check.serve(b"abc", str)


def test_a_started_check_keeps_its_runner() -> None:
    with Check.start(BubblewrapRunner.open(), DIGEST, allowed=TABLE) as check:
        gc.collect()
        time.sleep(0.3)
        assert check.serve(b"abc", str) == OF_ABC


def test_an_unused_check_is_ended_and_reaped(runner: BubblewrapRunner) -> None:
    check = Check.start(runner, DIGEST, allowed=TABLE)
    check.close()
    check.close()
    assert check._process.returncode == -9


@pytest.mark.guarantee("G10")
def test_a_check_whose_sandbox_died_gives_no_verdict(runner: BubblewrapRunner) -> None:
    check = Check.start(runner, DIGEST, allowed=TABLE)
    check._process.kill()
    with pytest.raises((GateError, UnavailableError)):
        check.serve(b"abc", str)


@pytest.mark.guarantee("G4")
@pytest.mark.parametrize(
    "function",
    ["vallum.base.ids:new_id", "os:system", "vallum.base.ids", "vallum.base.ids:a.b"],
)
def test_only_functions_of_the_table_run(runner: BubblewrapRunner, function: str) -> None:
    table = TABLE | ({function} if function != "vallum.base.ids:new_id" else set())
    with pytest.raises(InputError, match="not in the table"):
        Check.start(runner, function, allowed=table)


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize(
    ("payload", "report_type", "limits", "code"),
    [
        (b"abc", int, {}, "sandbox.report-undecodable"),
        (b"abc", str, {"wall_s": 0.001}, "sandbox.late"),
        (b"abc", str, {"output_bytes": 16}, "sandbox.report-large"),
        (bytes(64 << 20), str, {"memory_bytes": 48 << 20}, "sandbox.killed"),
    ],
    ids=["other-type", "late", "large", "memory"],
)
def test_no_usable_report_is_no_verdict(
    runner: BubblewrapRunner,
    payload: bytes,
    report_type: type[object],
    limits: dict[str, float],
    code: str,
) -> None:
    with pytest.raises(GateError) as caught:
        run_check(
            runner,
            DIGEST,
            payload,
            report_type=report_type,
            allowed=TABLE,
            limits=narrow(**limits),
        )
    assert caught.value.code == code


def test_the_payloads_own_fault_keeps_its_class_and_code(runner: BubblewrapRunner) -> None:
    with pytest.raises(VallumError) as caught:
        run_check(runner, JSON, b"{", report_type=dict, allowed=TABLE)
    assert type(caught.value).__name__ in {"InputError", "LimitExceededError"}
    assert not caught.value.code.startswith("sandbox.")


def test_a_wrong_argument_does_not_leak_what_was_said(runner: BubblewrapRunner) -> None:
    with pytest.raises(GateError) as caught:
        run_check(
            runner, DIGEST, b"s3cret", report_type=str, allowed=TABLE, arguments={"x": "s3cret"}
        )
    assert caught.value.code == "sandbox.killed"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode({"report": "x", "more": 1}),
        msgspec.msgpack.encode({"refusal": ["SystemExit", "a.b", "m", ""]}),
        msgspec.msgpack.encode({"refusal": ["InputError", "Not a code", "m", ""]}),
        msgspec.msgpack.encode({"report": "x"}) + b"x",
        b"\x81\xa6report" + b"\x91" * 100_000,
    ],
    ids=["nothing", "no-msgpack", "neither", "more", "class", "code", "rest", "deep"],
)
def test_a_hostile_answer_is_no_verdict(answer: bytes) -> None:
    with pytest.raises(GateError) as caught:
        _decode(ENDED_WELL, b"+" + answer, bytearray(), str)
    assert caught.value.code == "sandbox.report-undecodable"


@settings(max_examples=200)
@given(st.binary(max_size=64))
def test_any_answer_is_a_report_or_an_error_of_ours(answer: bytes) -> None:
    try:
        assert isinstance(_decode(ENDED_WELL, b"+" + answer, bytearray(), str), str)
    except (GateError, InputError) as error:
        assert error.code  # noqa: PT017 - an error is one of two right answers


def test_long_refusals_are_cut() -> None:
    answer = msgspec.msgpack.encode({"refusal": ["InputError", "a.b", "m" * 9999, "h" * 9999]})
    with pytest.raises(InputError) as caught:
        _decode(ENDED_WELL, b"+" + answer, bytearray(), str)
    assert len(caught.value.message) + len(caught.value.hint) == 800


def test_a_sandbox_that_did_not_stand_names_the_cure() -> None:
    said = bytearray(b"bwrap: No permissions to create a new namespace\n")
    with pytest.raises(UnavailableError) as caught:
        _decode(Ending(1, "", 0.1, 0), b"", said, str)
    assert caught.value.hint.startswith("sudo sysctl -w ")
