"""What an anonymized table is still good for.

Sources: Iyengar 2002 (granularity, LM); Xu et al. 2006 (normalised certainty penalty); Gionis and
Tassa 2009 (non-uniform entropy); Bayardo and Agrawal 2005 (discernibility); LeFevre et al. 2006
(average class size).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from vallum.privacy.anonymity import class_counts
from vallum.privacy.anonymize.anonymize import Anonymized
from vallum.privacy.anonymize.automatic import as_texts

_RECORDS = 30_000  # that a classifier is trained and tested on


@dataclass(frozen=True, slots=True)
class Utility:
    """Measures of what is left; between 0 and 1 unless said otherwise.

    Attributes:
        certainty_penalty: Normalised certainty penalty: mean loss of a cell, suppressed 1.
        granularity: 1 - certainty penalty.
        entropy: Share of the cells' information that is left, 1 - non-uniform entropy.
        discernibility: Sum over records of what they cannot be told from, in records.
        discernibility_share: The same, by that of a table of one class.
        class_size: Mean records of a class.
        accuracy: Column to (most frequent value, original, anonymized): shares that a classifier
            predicts right in cross-validation; empty without scikit-learn.
    """

    certainty_penalty: float
    granularity: float
    entropy: float
    discernibility: float
    discernibility_share: float
    class_size: float
    accuracy: dict[str, tuple[float, float, float]]


def measure_utility(
    frame: pl.DataFrame,
    made: Anonymized,
    quasi_identifiers: Sequence[str],
    targets: Sequence[str] = (),
) -> Utility:
    """Compare an anonymized table with what it was made from.

    Args:
        frame: The original table.
        made: What became of it.
        quasi_identifiers: The generalised columns.
        targets: Columns that a classifier shall predict from them.
    """
    sizes = class_counts(made.table, quasi_identifiers)["count"].to_numpy()
    cost = float((sizes**2).sum()) + float(made.suppressed) * frame.height
    return Utility(
        certainty_penalty=made.loss,
        granularity=1.0 - made.loss,
        entropy=_entropy_left(frame, made, quasi_identifiers),
        discernibility=cost,
        discernibility_share=cost / frame.height**2,
        class_size=float(sizes.mean()) if len(sizes) else 0.0,
        accuracy=_accuracy(frame, made, quasi_identifiers, targets),
    )


def _entropy_left(frame: pl.DataFrame, made: Anonymized, names: Sequence[str]) -> float:
    """Return 1 - sum of log2(n(general) / n(value)) / sum of log2(records / n(value))."""
    lost = most = 0.0
    for name in names:
        original = as_texts(frame[name])
        counts = pl.DataFrame({"value": original}).group_by("value").agg(pl.len().alias("n"))
        before = pl.DataFrame({"value": original.gather(made.kept)}).join(
            counts, on="value", how="left", maintain_order="left"
        )["n"]
        after = pl.DataFrame({"g": made.table[name]}).select(pl.len().over("g"))["len"]
        everything = float(np.log2(frame.height / counts["n"].to_numpy()) @ counts["n"].to_numpy())
        kept = np.log2(frame.height / before.to_numpy())
        found = np.log2(np.maximum(1.0, after.to_numpy() / before.to_numpy()))
        # A suppressed record loses all that its value told.
        lost += float(np.minimum(found, kept).sum()) + max(0.0, everything - float(kept.sum()))
        most += everything
    return 1.0 if most <= 0 else max(0.0, 1.0 - lost / most)


def _accuracy(
    frame: pl.DataFrame, made: Anonymized, names: Sequence[str], targets: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    try:
        from sklearn.model_selection import cross_val_score
        from sklearn.naive_bayes import CategoricalNB
    except ImportError:
        return {}
    out = {}
    kept = made.kept[:: max(1, len(made.kept) // _RECORDS)]
    after = made.table.gather_every(max(1, len(made.kept) // _RECORDS))
    before = frame[kept]
    for target in targets:
        labels = as_texts(before[target]).rank("dense").to_numpy()
        _, counts = np.unique(labels, return_counts=True)
        features = [name for name in names if name != target]
        if len(counts) < 2 or counts.max() < 3 or not features:  # noqa: PLR2004 - nothing to predict
            continue
        scores = []
        for table in (before, after):
            codes = np.stack(
                [as_texts(table[name]).rank("dense").to_numpy() - 1 for name in features], axis=1
            )
            model = CategoricalNB(min_categories=codes.max(axis=0).astype(int) + 1)
            folds = np.arange(len(labels)) % 3
            split = [(np.flatnonzero(folds != at), np.flatnonzero(folds == at)) for at in range(3)]
            scores.append(float(cross_val_score(model, codes, labels, cv=split).mean()))
        out[target] = (float(counts.max() / len(labels)), scores[0], scores[1])
    return out
