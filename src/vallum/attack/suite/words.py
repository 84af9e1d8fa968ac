"""Misspelled words as a suite makes them: the same texts, share of words and second look for all.

A text on which nothing could be misspelled, or whose scores never changed, is no robust one, and
neither is one whose questions ran out.
"""

from collections.abc import Sequence

import numpy as np

from vallum.attack.evasion import wilson
from vallum.attack.predictor import Scores
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject
from vallum.attack.text import MAX_WORDS, word_bugs
from vallum.attack.writing import read, written
from vallum.base import GateError

_DISTANCE = 2
_CHARACTER_S = 1e-6  # of a text, in a pipeline that counts n-grams of characters


def queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001 - of one shape
    """Return the most that misspelling asks: its tries, and each flip once more."""
    return effort.records * (effort.tries + 1)


def calls(subject: Subject, effort: Effort) -> int:
    """Return about how many batches it asks in: each word is changed once or twice, then left."""
    words = 1 + int(subject.epsilon * MAX_WORDS)
    return 3 + min(effort.tries, words * (_DISTANCE + 1))


def reading_s(subject: Subject, effort: Effort) -> float:
    """Return how long a model reads, beside what a question costs, seconds."""
    length = float((subject.x >= 0).sum(axis=1).mean())
    return queries(subject, effort) * length * _CHARACTER_S


def misspell(bench: Bench) -> Measured:
    """Misspell words until the model errs, and ask about each flip once more."""
    texts = read(bench.subject.x[bench.rows])
    y = bench.y[bench.rows]
    found = word_bugs(
        _Texts(bench), texts, y, share=bench.subject.epsilon, distance=_DISTANCE,
        tries=bench.effort.tries, seed=int(bench.rng.integers(2**31)),
    )  # fmt: skip
    if found.idle.all():
        raise GateError(
            "misspelling did nothing: no text has a word to misspell, or no score ever changes",
            code="attack.idle",
        )
    flipped = found.flipped.copy()
    hits = np.flatnonzero(flipped)
    if len(hits):
        again = _Texts(bench).predict([found.texts[at] for at in hits])
        flipped[hits] = again.argmax(axis=1) != y[hits]
    failed = (found.exhausted | found.idle | (found.flipped & ~flipped)) & ~flipped
    count, total = int(flipped.sum()), len(texts)
    more = {"failed records": float(failed.sum())} if failed.any() else {}
    if count:
        more["median words changed"] = float(np.median(found.words[flipped]))
        more["median characters changed"] = float(np.median(found.characters[flipped]))
    return Measured(
        rate=count / total, low=wilson(count, total)[0],
        high=wilson(count + int(failed.sum()), total)[1], records=total,
        flipped=flipped, failed=failed, misled=True, more=more,
    )  # fmt: skip


class _Texts:
    """The bench's model, asked in texts."""

    def __init__(self, bench: Bench) -> None:
        self._model = bench.model

    def predict(self, texts: Sequence[str]) -> Scores:
        """Return scores, (n, c)."""
        return self._model.predict(written(texts))
