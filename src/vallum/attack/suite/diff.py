"""What changed between two reports, if they can be compared at all."""

import msgspec

from vallum.base import InputError
from vallum.schema import Record

SCHEMA = "vallum.attack/1"


_Figures = tuple[float, float, float]


class _Used(msgspec.Struct, frozen=True):
    attack: str
    outcome: str
    rate: float | None
    low: float | None
    high: float | None


class _Threat(msgspec.Struct, frozen=True):
    threat: str
    verdict: str
    rate: float | None
    low: float | None
    high: float | None
    attacks: tuple[_Used, ...]


class _Side(msgspec.Struct, frozen=True):
    schema: str
    model: dict[str, str]
    data: dict[str, str]
    settings: dict[str, str]
    effort: float
    threats: tuple[_Threat, ...]
    dry_run: bool = False


class Change(Record, frozen=True):
    """One figure of both reports.

    Attributes:
        threat: Its id.
        attack: Its name; empty for the whole of the threat.
        before: Rate in the first report; none where it was not measured.
        after: Rate in the second.
        difference: Second less first; none where one is missing.
        verdict: `lower` or `higher` where the two 95 % intervals do not meet, else `same`;
            `not comparable` where one is missing.
    """

    threat: str
    attack: str
    before: float | None
    after: float | None
    difference: float | None
    verdict: str


class Difference(Record, frozen=True):
    """Two reports side by side.

    Attributes:
        before: The first model's name and digest.
        after: The second's.
        changes: For every threat and attack of either.
        worse: A rate is higher, or was measured before and is not now.
    """

    before: dict[str, str]
    after: dict[str, str]
    changes: tuple[Change, ...]
    worse: bool


def compare_reports(before: bytes, after: bytes) -> Difference:
    """Compare two reports of `vallum attack`, as JSON.

    Raises:
        InputError: One is no such report, or they do not measure the same: other data, seed,
            suite, budget or settings.
    """
    first, second = _read(before, "first"), _read(after, "second")
    for what, one, other in (
        ("data", first.data, second.data),
        ("settings", first.settings, second.settings),
    ):
        unlike = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        unlike = [name for name in unlike if name not in {"file", "train_file"}]
        if unlike:
            name = unlike[0]
            raise InputError(
                f"the reports cannot be compared: `{what}.{name}` is"
                f" `{one.get(name, '')[:80]}` in the first and `{other.get(name, '')[:80]}` in the"
                " second",
                code="attack.diff", hint="attack both models with the same data and options",
            )  # fmt: skip
    if first.effort != second.effort:
        raise InputError(
            f"the reports cannot be compared: the budget paid for {first.effort:.0%} of the suite"
            f" in the first and {second.effort:.0%} in the second",
            code="attack.diff", hint="raise --budget of both until it pays for all of it",
        )  # fmt: skip
    rows: dict[tuple[str, str], list[_Figures | None]] = {}
    for at, side in enumerate((first, second)):
        for threat in side.threats:
            rows.setdefault((threat.threat, ""), [None, None])[at] = _figures(threat)
            for used in threat.attacks:
                done = _figures(used) if used.outcome == "done" else None
                rows.setdefault((threat.threat, used.attack), [None, None])[at] = done
    changes = tuple(_change(*key, both[0], both[1]) for key, both in rows.items())
    return Difference(
        before=first.model,
        after=second.model,
        changes=changes,
        worse=any(
            one.verdict == "higher" or (one.before is not None and one.after is None)
            for one in changes
        ),
    )


def _figures(one: _Threat | _Used) -> _Figures | None:
    if one.rate is None or one.low is None or one.high is None:
        return None
    return one.rate, one.low, one.high


def _change(threat: str, attack: str, before: _Figures | None, after: _Figures | None) -> Change:
    verdict = "not comparable"
    if before is not None and after is not None:
        verdict = "same"
        if after[1] > before[2]:
            verdict = "higher"
        elif after[2] < before[1]:
            verdict = "lower"
    missing = before is None or after is None
    return Change(
        threat=threat,
        attack=attack,
        before=None if before is None else before[0],
        after=None if after is None else after[0],
        difference=None if missing else round(after[0] - before[0], 6),  # type: ignore[index]  # both are there
        verdict=verdict,
    )


def _read(report: bytes, which: str) -> _Side:
    try:
        side = msgspec.json.decode(report, type=_Side)
    except msgspec.DecodeError as error:
        raise InputError(
            f"the {which} file is no report of `vallum attack`", code="attack.diff",
            hint="vallum attack MODEL --data DATA --report FILE.json",
        ) from error  # fmt: skip
    if side.schema != SCHEMA or side.dry_run:
        raise InputError(f"the {which} file is no report of `vallum attack`", code="attack.diff")
    return side
