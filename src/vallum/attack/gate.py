"""The attack room as gates call it in the sandbox: model and tables in, one report out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import EvasionReport, hop_skip_jump
from vallum.attack.membership import MembershipReport, loss_threshold
from vallum.attack.predictor import MIN_RECORDS, Checked, OnnxPredictor, Records
from vallum.base import InputError
from vallum.schema import Record

if TYPE_CHECKING:
    import polars as pl

EPSILON = 0.1
"""Standard deviations a feature: a change that passes for measurement noise."""
MAX_KNOWN = 0.5
"""Share of held-out records that may occur among the members: coarse tables repeat themselves."""


class AttackReport(Record, frozen=True):
    """Both attacks on one model."""

    evasion: EvasionReport
    membership: MembershipReport


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: bytes
    members: bytes
    others: bytes


def attack_tabular(
    payload: bytes,
    *,
    members_kind: str,
    others_kind: str,
    label_column: str,
    budget_s: int,
    seed: int,
    features: Sequence[str] = (),
) -> AttackReport:
    """Attack an ONNX classifier of a table.

    Args:
        payload: msgpack map of `model` (ONNX), `members` (the training table) and `others`
            (records that the model never saw).
        members_kind: Format of `members`, such as `parquet`.
        others_kind: Format of `others`.
        label_column: Holds the class; its sorted values are the model's classes in order.
        budget_s: Seconds for evasion; one iteration is always made.
        seed: Of every random choice.
        features: The model's columns in order; without them, every numeric one but the label.

    Raises:
        InputError: The data does not fit the model; the reason is named.
        GateError: The model cannot be assessed: that is no pass.
    """
    from vallum.formats import read_table

    try:
        given = msgspec.msgpack.decode(payload, type=_Payload)
    except msgspec.DecodeError as error:
        raise InputError("the payload has another form", code="attack.payload") from error
    members = read_table(given.members, kind=members_kind)
    others = read_table(given.others, kind=others_kind)
    model = OnnxPredictor(given.model)
    names = list(features) or _numeric(members, label_column)
    if model.width is not None and model.width != len(names):
        raise InputError(
            f"the model takes {model.width} features, the data has {len(names)}",
            code="attack.features",
            hint="name the model's columns with --feature, in order",
        )
    classes = _classes(members, others, label_column)
    inside = _arrays(members, names, label_column, classes)
    outside = _arrays(others, names, label_column, classes)
    _check_records(names, inside, outside)
    width = Checked(model).predict(inside[0][:1]).shape[1]
    if width != len(classes):
        raise InputError(
            f"the model has {width} classes, the data has {len(classes)}", code="attack.classes"
        )
    membership = loss_threshold(model, inside, outside)
    evasion = hop_skip_jump(
        model,
        *outside,
        epsilon=EPSILON,
        budget_s=float(budget_s),
        rng=np.random.default_rng(seed),
        reference=inside[0],
    )
    return AttackReport(evasion=evasion, membership=membership)


def _check_records(
    names: Sequence[str],
    inside: tuple[Records, NDArray[np.intp]],
    outside: tuple[Records, NDArray[np.intp]],
) -> None:
    """Refuse data on which the figures would mean nothing."""
    if min(len(inside[0]), len(outside[0])) < MIN_RECORDS:
        raise InputError(f"each table needs at least {MIN_RECORDS} records", code="attack.records")
    for name, spread in zip(names, np.ptp(inside[0], axis=0), strict=True):
        if not spread > 0:
            raise InputError(f"column `{name[:80]}` is constant", code="attack.features")
    seen = {row.tobytes() for row in inside[0]}
    known = sum(row.tobytes() in seen for row in outside[0])
    if known > MAX_KNOWN * len(outside[0]):
        raise InputError(
            f"{known} of {len(outside[0])} records that the model should not know are in the"
            " training table",
            code="attack.overlap",
            hint="give records that were held out",
        )


def _numeric(frame: "pl.DataFrame", label_column: str) -> list[str]:
    return [
        name for name in frame.columns if frame[name].dtype.is_numeric() and name != label_column
    ]


def _classes(members: "pl.DataFrame", others: "pl.DataFrame", label_column: str) -> list[object]:
    for frame in (members, others):
        if label_column not in frame.columns:
            raise InputError(
                f"the data has no label column `{label_column[:80]}`", code="attack.label"
            )
    found: set[object] = {*members[label_column].to_list(), *others[label_column].to_list()}
    if None in found:
        raise InputError("a record has no label", code="attack.label")
    if len(found) < 2:  # noqa: PLR2004
        raise InputError("the data has one class only", code="attack.label")
    return sorted(found, key=lambda value: (str(type(value)), value))


def _arrays(
    frame: "pl.DataFrame", names: Sequence[str], label_column: str, classes: Sequence[object]
) -> tuple[Records, NDArray[np.intp]]:
    for name in names:
        if name not in frame.columns:
            raise InputError(f"the data has no column `{name[:80]}`", code="attack.features")
        if not frame[name].dtype.is_numeric():
            raise InputError(f"column `{name[:80]}` is not numeric", code="attack.features")
    if not names:
        raise InputError("the data has no numeric feature", code="attack.features")
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused below
        x = frame.select(names).to_numpy().astype(np.float32)
    if not np.isfinite(x).all():
        raise InputError("a feature is missing or not finite", code="attack.features")
    places = {value: at for at, value in enumerate(classes)}
    y = np.array([places[value] for value in frame[label_column].to_list()], dtype=np.intp)
    return x, y
