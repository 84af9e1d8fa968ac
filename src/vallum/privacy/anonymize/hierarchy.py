"""Generalisation hierarchies: what every value of a column becomes at every level.

The file form is ARX's: CSV without a header, one line a value, from the value itself (level 0) to
the one label that all share. Source: Prasser and Kohlmayer 2015 (ARX, section 3).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vallum.base import InputError, LimitExceededError

TOP = "*"
NULL = ""  # nulls and empty texts are one value: what is not known
MAX_LEVELS = 32
MAX_LEAVES = 5_000_000
MAX_FILE_BYTES = 256 * 1024 * 1024

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Labels by level.

    Attributes:
        leaves: The column's values, as texts; `NULL` stands for a missing one.
        codes: (levels, leaves) int64: which label of its level a leaf gets.
        labels: For each level, its labels; one label at the last.
    """

    leaves: tuple[str, ...]
    codes: IntArray
    labels: tuple[tuple[str, ...], ...]

    @property
    def levels(self) -> int:
        """Number of levels; the first is the value itself, the last says nothing."""
        return len(self.labels)

    @staticmethod
    def of(rows: Sequence[Sequence[str]], *, name: str = "") -> "Hierarchy":
        """Check and index a hierarchy given by its lines.

        A last level with more than one label gets one above it, and missing values their own line.

        Raises:
            InputError: Lines differ in length, a value has two lines, or two values that share a
                label do not share the next one.
            LimitExceededError: There are too many levels or values.
        """
        where = f"the hierarchy of `{name}`" if name else "the hierarchy"
        if not rows:
            raise InputError(f"{where} is empty", code="hierarchy.empty")
        width = len(rows[0])
        if width > MAX_LEVELS or len(rows) > MAX_LEAVES:
            raise LimitExceededError(
                f"{where} has more than {MAX_LEVELS} levels or {MAX_LEAVES} values",
                code="hierarchy.size",
            )
        for at, row in enumerate(rows):
            if len(row) != width:
                raise InputError(
                    f"{where} has {len(row)} levels in line {at + 1} and {width} in line 1",
                    code="hierarchy.ragged",
                )
        columns = [[row[level] for row in rows] for level in range(width)]
        leaves = columns[0]
        if len(set(leaves)) != len(leaves):
            raise InputError(f"{where} has two lines for one value", code="hierarchy.twice")
        if NULL not in leaves:
            for level, column in enumerate(columns):
                column.append(NULL if level == 0 or len(set(column)) > 1 else column[0])
        if len(set(columns[-1])) > 1:
            columns.append([TOP] * len(leaves))
        codes, labels = [], []
        for column in columns:
            index = {label: at for at, label in enumerate(dict.fromkeys(column))}
            codes.append(np.fromiter((index[label] for label in column), np.int64, len(column)))
            labels.append(tuple(index))
        for level in range(1, len(codes)):
            pairs = np.unique(np.stack((codes[level - 1], codes[level])), axis=1).shape[1]
            if pairs > len(labels[level - 1]):
                raise InputError(
                    f"{where} is not nested: values that share a label at level {level - 1} "
                    f"have different ones at level {level}",
                    code="hierarchy.nested",
                    hint="a label may lead to one label of the next level only",
                )
        return Hierarchy(tuple(leaves), np.stack(codes), tuple(labels))

    def rows(self) -> list[list[str]]:
        """Return a line for each value, from itself to the top."""
        return [
            [labels[code] for labels, code in zip(self.labels, codes, strict=True)]
            for codes in self.codes.T
        ]

    def to_csv(self) -> bytes:
        """Return the hierarchy in its file form, to be edited and read again."""
        out = io.StringIO()
        writer = csv.writer(out, delimiter=";", lineterminator="\n")
        writer.writerows(row for row in self.rows() if row[0] != NULL)
        return out.getvalue().encode()


def read_hierarchy(data: bytes, *, name: str = "") -> Hierarchy:
    """Read a hierarchy file: UTF-8 CSV without a header, separated by `;` or `,`.

    Raises:
        InputError: It is not UTF-8 or not a hierarchy.
        LimitExceededError: It is too large.
    """
    if len(data) > MAX_FILE_BYTES:
        raise LimitExceededError(
            f"the hierarchy of `{name}` exceeds {MAX_FILE_BYTES} bytes", code="hierarchy.size"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"the hierarchy of `{name}` is not UTF-8", code="hierarchy.text"
        ) from error
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(f"the hierarchy of `{name}` is no CSV", code="hierarchy.csv") from error
    return Hierarchy.of(rows, name=name)
