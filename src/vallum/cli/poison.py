"""The verb `poison`: poisoned rows of training data, offline."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vallum.base import InputError
from vallum.cli.border import check_output, read_file, say, show, table, write_out
from vallum.cli.offline import TABLES, encoded, read_input
from vallum.cli.options import names_of
from vallum.cli.progress import progress

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from vallum.defend import Detection, Scorer

_SHOWN = 20
_ARRAYS = ".npz"
_SCORED = "vallum.attack.predictor:score_onnx"
_ACTIVATED = "vallum.attack.predictor:activate_onnx"


def poison(
    data: Annotated[Path, typer.Argument(help="Training data: .npz, .csv, .parquet or .jsonl.")],
    label_column: Annotated[
        str, typer.Option(help="The column of classes; in .npz the array, `y` if not given.")
    ] = "",
    features: Annotated[
        str, typer.Option(help="The model's columns, by commas; all are looked at if not.")
    ] = "",
    model: Annotated[
        Path | None, typer.Option(help="ONNX classifier trained on other data of this kind.")
    ] = None,
    activations: Annotated[
        Path | None,
        typer.Option(help="ONNX network trained on these data: judge what its last layer sees."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Share of clean rows that may be flagged for their label.")
    ] = 0.01,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the flagged rows here: .csv, .parquet or .npz."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report here: .html, or .json.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random choice.")] = 0,
) -> None:
    """Find poisoned rows of training data; exit 1 if there are.

    Example: vallum poison train.csv --label-column ill -o quarantine.csv
    """
    import numpy as np

    from vallum.defend import detect_poisoning

    check_output(output)
    check_output(report)
    if model is not None and activations is not None:
        raise InputError("--model and --activations do not go together", code="cli.usage")
    frame, x, y, left_out = _read(data, label_column, names_of(features))
    if output is not None and frame is None and output.suffix.lower() != _ARRAYS:
        raise InputError(f"rows of arrays go to an `.npz`, not to `{output}`", code="poison.output")
    if left_out:
        say(f"left out {len(left_out)} column(s) that are no measurements: {', '.join(left_out)}")
    seen = None if activations is None else _answered(activations, x, _ACTIVATED)
    with progress("looking for poison"):
        found = detect_poisoning(
            x if seen is None else seen,
            y,
            model=None if model is None else _scored(model, x),
            alpha=alpha,
            rng=np.random.default_rng(seed),
        )
    rows = np.flatnonzero(found.flagged)
    if output is not None:
        write_out(_quarantine(frame, (x, y), found, rows, output), output)
    record = _record(data, label_column, found, y, left_out, output)
    record["activations"] = None if activations is None else str(activations)
    if report is not None:
        page = (
            json.dumps({"schema": "vallum.poison/1", **record}, indent=2) + "\n"
            if report.suffix.lower() == ".json"
            else _page(record)
        )
        write_out(page.encode(), report)
    show("poison", record, _text(record))
    raise typer.Exit(1 if found.suspicious else 0)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("poison")(poison)


def _read(
    data: Path, label: str, features: tuple[str, ...]
) -> "tuple[pl.DataFrame | None, NDArray[Any], NDArray[Any], list[str]]":
    from vallum.formats import read_npz

    if data.suffix.lower() == _ARRAYS:
        if features:
            raise InputError("--features is for tables", code="cli.usage")
        name = label or "y"
        arrays = read_npz(data, ["x", name])
        return None, arrays["x"], arrays[name], []
    if data.suffix.lower() not in TABLES:
        raise InputError(
            f"`{data}` is neither `.npz` nor a table (`.csv`, `.parquet`, `.jsonl`)",
            code="poison.kind",
        )
    frame = read_input(data)
    if not label:
        raise InputError(
            "a table needs --label-column COLUMN", code="cli.usage",
            hint=f"vallum poison {data} --label-column {frame.columns[-1]}",
        )  # fmt: skip
    from vallum.defend.tables import measured

    found = measured(frame, label, features=features)
    return frame, found.x, found.y, list(found.left_out)


def _scored(model: Path, x: "NDArray[Any]") -> "Scorer":
    """Return what an ONNX model answers for all rows."""
    scores = _answered(model, x, _SCORED)

    class Answered:
        def predict(self, x: "NDArray[np.float32]") -> "NDArray[np.float64]":  # noqa: ARG002
            return scores

    return Answered()


def _answered(model: Path, x: "NDArray[Any]", function: str) -> "NDArray[np.float64]":
    """Return one row of numbers that a model makes of each row; it runs in a sandbox."""
    import numpy as np

    from vallum.attack import Scored, pack_rows
    from vallum.sandbox import BubblewrapRunner, run_check

    rows = np.ascontiguousarray(x.reshape(len(x), -1), dtype=np.float32)
    return run_check(
        BubblewrapRunner.open(),
        function,
        pack_rows(read_file(model), rows),
        report_type=Scored,
        allowed={_SCORED, _ACTIVATED},
    ).scores()


def _quarantine(
    frame: "pl.DataFrame | None",
    arrays: "tuple[NDArray[Any], NDArray[Any]]",
    found: "Detection",
    rows: "NDArray[np.intp]",
    target: Path,
) -> bytes:
    import numpy as np
    import polars as pl

    reasons = [found.reasons[row] for row in rows]
    if frame is not None:
        told = [
            pl.Series("poison_row", rows),
            pl.Series("poison_score", found.scores[rows].round(4)),
            pl.Series("poison_reason", reasons, dtype=pl.String),
        ]
        return encoded(frame[rows].with_columns(told), target)
    out = io.BytesIO()
    np.savez_compressed(
        out, x=arrays[0][rows], y=arrays[1][rows], row=rows, score=found.scores[rows],
        reason=np.array(reasons, dtype=str),
    )  # fmt: skip
    return out.getvalue()


def _record(
    data: Path,
    label: str,
    found: "Detection",
    y: "NDArray[Any]",
    left_out: list[str],
    output: Path | None,
) -> dict[str, object]:
    order = sorted(found.flagged.nonzero()[0].tolist(), key=lambda row: -found.scores[row])
    return {
        "file": str(data),
        "label": label or "y",
        "rows": len(y),
        "verdict": "suspicious" if found.suspicious else "clean",
        "flagged": len(order),
        "alpha": found.alpha,
        "wrong_labels": round(found.wrong_labels, 4),
        "triggers": found.triggers,
        "columns_left_out": left_out,
        "quarantine": None if output is None else str(output),
        "found": [
            {
                "row": row,
                "score": round(float(found.scores[row]), 4),
                "reason": found.reasons[row],
                "label": str(y[row])[:80],
            }
            for row in order
        ],
    }


def _text(record: dict[str, Any]) -> str:
    lines = [f"{record['file']}: {record['verdict']}, {record['flagged']} of {record['rows']} rows"]
    if record["found"]:
        first = record["found"][:_SHOWN]
        cells = [(one["row"], f"{one['score']:.2f}", one["reason"], one["label"]) for one in first]
        lines.append(table(("row", "score", "reason", "label"), cells))
    if len(record["found"]) > _SHOWN:
        lines.append(f"and {len(record['found']) - _SHOWN} more; -o FILE writes all of them")
    return "\n".join(lines)


def _judged(record: dict[str, Any]) -> str:
    from html import escape

    model = record["activations"]
    return f" Judged is what the last layer of {escape(model)} sees." if model else ""


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}"
    "td,th{border:1px solid #bbb;padding:.2rem .6rem;text-align:left}"
)


def _page(record: dict[str, Any]) -> str:
    """Return the report as one HTML page without scripts or outside references."""
    from collections import Counter
    from html import escape

    counts = Counter(one["reason"] for one in record["found"])
    rows = "".join(
        f"<tr><td>{one['row']}<td>{one['score']:.2f}<td>{escape(one['reason'])}"
        f"<td>{escape(one['label'])}</tr>"
        for one in record["found"]
    )
    reasons = "".join(f"<tr><td>{escape(name)}<td>{n}</tr>" for name, n in counts.most_common())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Poisoning report</title>"
        f"<style>{_STYLE}</style><h1>Poisoning report</h1>"
        f"<p>{escape(record['file'])}: <strong>{record['verdict']}</strong>. "
        f"{record['flagged']} of {record['rows']} rows are flagged; about "
        f"{record['wrong_labels']:.1%} of labels look drawn at random; "
        f"{record['triggers']} trigger(s).{_judged(record)}</p>"
        "<p>A clean data set is called suspicious with a probability of at most 5 %; in a "
        f"poisoned one, at most {record['alpha']:.1%} of clean rows are flagged for their "
        "label.</p>"
        f"<h2>Reasons</h2><table><tr><th>reason<th>rows</tr>{reasons}</table>"
        f"<h2>Rows</h2><table><tr><th>row<th>score<th>reason<th>label</tr>{rows}</table></html>\n"
    )
