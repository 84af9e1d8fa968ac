"""Text classifiers behind their scores: words are misspelled until the answer changes.

A reader still reads the text: few words are changed, each by few characters. The first and last
character of a word stay, but for others that look alike. Which words count is asked by leaving
each out; the most important ones are misspelled in turn by what fools the model most. Questions
about all texts go into one batch.

A model that knows characters, or corrects words before it reads them, stands firmer than one that
knows words.

Sources: Gao et al. 2018 (DeepWordBug); Jin et al. 2020 (TextFooler: order by leaving out); Boucher
et al. 2022 (homoglyphs).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import wilson
from vallum.attack.writing import MAX_CHARACTERS
from vallum.base import GateError, InputError, VallumError

Scores = NDArray[np.float64]
MAX_TEXTS = 10_000
MAX_WORDS = 400
"""Words of a text that are asked about; of longer ones, as many are drawn."""
_WORD = re.compile(r"\w+")
_LEAST = 3
_MATRIX = 2
HOMOGLYPHS = str.maketrans(
    "aceiopsxyjABCEHIKMOPSTXYZ",
    "асеіорѕхујАВСЕНІКМОРЅТХУΖ",
)
"""Latin letters that Cyrillic or Greek ones look like."""
_BESIDE = {
    one: two
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for one, two in zip(row, row[1:] + row[-2], strict=True)
}


class TextPredictor(Protocol):
    """A text classifier behind its scores."""

    def predict(self, texts: Sequence[str]) -> Scores:
        """Return scores, shape (n, c), c >= 2: probabilities or logits."""
        ...


@dataclass(frozen=True, slots=True)
class TextAttack:
    """What was found.

    Attributes:
        texts: As changed; of those that were not flipped, as given.
        correct: Texts that the model classified right to begin with (n,).
        flipped: Of these, those whose answer was changed (n,).
        words: Words changed in a flipped text (n,).
        characters: Characters changed, put in or taken out in a flipped text (n,).
        queries: Texts asked about each (n,).
        rate: Flipped of correct; `low` and `high` are its 95 % interval.
        exhausted: Correct texts whose queries ran out before the words did: not shown to be firm
            (n,).
        idle: Correct texts for which the attack could do nothing: there was nothing to misspell, or
            no score ever changed (n,).
    """

    texts: tuple[str, ...]
    correct: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    words: NDArray[np.intp]
    characters: NDArray[np.intp]
    queries: NDArray[np.intp]
    rate: float
    low: float
    high: float
    exhausted: NDArray[np.bool_]
    idle: NDArray[np.bool_]


def word_bugs(
    model: TextPredictor,
    texts: Sequence[str],
    labels: NDArray[np.integer],
    *,
    share: float = 0.2,
    distance: int = 2,
    tries: int = 500,
    homoglyphs: bool = True,
    seed: int = 0,
) -> TextAttack:
    """Misspell words until the model errs.

    Args:
        model: Answers scores.
        texts: To be changed, 1 to 10,000, of at most 20,000 characters each.
        labels: Their classes as positions in the scores (n,).
        share: Of a text's words that may be changed, 0 < share <= 1; one word always may.
        distance: Characters that may be changed in a word, 1 to 4.
        tries: Questions about each text, at least 10.
        homoglyphs: Whether letters may be replaced by others that look alike.
        seed: Of what is drawn.

    Raises:
        InputError: An argument is unusable.
        GateError: The model does not answer a score for each class, or answers labels only: what
            cannot be attacked so was not tested.
    """
    names = np.asarray(labels)
    if not 1 <= len(texts) <= MAX_TEXTS or names.shape != (len(texts),):
        raise InputError(f"1 to {MAX_TEXTS} texts need a class each", code="attack.text")
    if any(len(one) > MAX_CHARACTERS for one in texts):
        raise InputError(f"a text has over {MAX_CHARACTERS} characters", code="attack.text")
    if not (0 < share <= 1 and 1 <= distance <= 4 and tries >= 10):  # noqa: PLR2004 - as documented
        raise InputError(
            "`share` is more than 0 and at most 1, `distance` 1 to 4, `tries` at least 10",
            code="attack.text",
        )
    first = _answers(model, texts)
    if names.dtype.kind not in "iu" or names.min() < 0 or names.max() >= first.shape[1]:
        raise InputError("a label is no position in the model's scores", code="attack.text")
    if bool(np.isin(first, (0.0, 1.0)).all()):
        raise GateError(
            "the model answers labels, which do not tell how near it is to another answer",
            code="attack.text.labels",
        )
    correct = first.argmax(axis=1) == names
    work = {
        at: _Text(texts[at], int(names[at]), np.random.default_rng([seed, at]), tries)
        for at in np.flatnonzero(correct).tolist()
    }
    for one, scores in zip(work.values(), first[correct], strict=True):
        one.margin = one.first = one.left(scores)
    _ask(model, work.values(), lambda one: one.without(), lambda one, found: one.order(found))
    for one in work.values():
        one.allowed = max(1, int(share * len(one.spans)))
    while any(one.open for one in work.values()):
        _ask(
            model, work.values(),
            lambda one: one.candidates(distance, homoglyphs=homoglyphs),
            lambda one, found: one.take(found),
        )  # fmt: skip
    flipped, exhausted, idle = (np.zeros(len(texts), dtype=np.bool_) for _ in range(3))
    words, characters = (np.zeros(len(texts), dtype=np.intp) for _ in range(2))
    queries = np.ones(len(texts), dtype=np.intp)
    changed = list(texts)
    for at, one in work.items():
        queries[at] = tries - one.tries
        exhausted[at], idle[at] = one.exhausted, not one.moved
        if one.margin < 0:
            flipped[at], changed[at] = True, one.text()
            words[at], characters[at] = len(one.changed), sum(one.changed.values())
    hits, total = int(flipped.sum()), int(correct.sum())
    low, high = wilson(hits, total) if total else (0.0, 1.0)
    return TextAttack(
        texts=tuple(changed), correct=correct, flipped=flipped, words=words,
        characters=characters, queries=queries, rate=hits / total if total else 0.0, low=low,
        high=high, exhausted=exhausted, idle=idle,
    )  # fmt: skip


class _Text:
    """One text under attack."""

    def __init__(self, text: str, label: int, rng: np.random.Generator, tries: int) -> None:
        self.label, self.rng = label, rng
        self.tries = tries - 1
        found = list(_WORD.finditer(text))
        edges = [0, *(at for one in found for at in one.span()), len(text)]
        self.pieces = [text[a:b] for a, b in pairwise(edges)]
        self.spans = [2 * at + 1 for at in range(len(found))]
        self.waiting: list[int] = []
        self.changed: dict[int, int] = {}  # place of a word to characters changed
        self.margin = np.inf
        self.allowed = 0
        self.exhausted = False
        self.first = np.inf
        self.moved = False  # an answer differed
        self._asked: list[int] = []
        self._trials: list[tuple[str, int]] = []
        self._now = -1

    def text(self, place: int = -1, word: str = "") -> str:
        """Return the text, with one word as it might be."""
        return "".join(word if at == place else one for at, one in enumerate(self.pieces))

    def left(self, scores: Scores) -> float:
        """Return by how much the right class leads; below 0, the model errs."""
        others = np.delete(scores, self.label)
        return float(scores[self.label] - others.max())

    def _margins(self, found: Scores) -> list[float]:
        margins = [self.left(one) for one in found]
        self.moved = self.moved or any(one != self.first for one in margins)
        return margins

    def without(self) -> list[str]:
        """Return the text without each of its words that are worth changing."""
        worth = [at for at in self.spans if len(self.pieces[at]) >= _LEAST]
        most = min(MAX_WORDS, self.tries // 2)
        if len(worth) > most:
            worth = np.sort(self.rng.choice(worth, most, replace=False)).tolist()
        self._asked = worth
        return [self.text(at, "") for at in worth]

    def order(self, found: Scores) -> None:
        """Put the words first without which the model is least sure."""
        margins = np.array(self._margins(found))
        self.waiting = [self._asked[at] for at in np.argsort(margins, kind="stable")]

    @property
    def open(self) -> bool:
        """Whether there is anything left to try."""
        started = self._now >= 0 and self.changed.get(self._now, 0) > 0
        more = bool(self.waiting) and len(self.changed) < self.allowed
        going = self.margin >= 0 and (more or started)
        if going and self.tries <= 0:
            self.exhausted = True
            return False
        return going

    def candidates(self, distance: int, *, homoglyphs: bool) -> list[str]:
        """Return the text with the word in turn misspelled in every way."""
        if not self.open:
            return []
        if self._now < 0:
            self._now = self.waiting.pop(0)
        word, spent = self.pieces[self._now], self.changed.get(self._now, 0)
        made = [
            (new, spent + cost)
            for new, cost in _misspelled(word, self.rng, homoglyphs=homoglyphs)
            if spent + cost <= distance
        ][: self.tries]
        self._trials = made
        if not made:
            self._now = -1
        return [self.text(self._now, new) for new, _ in made]

    def take(self, found: Scores) -> None:
        """Keep what brings the model nearest to an error; if nothing does, go on."""
        margins = self._margins(found)
        best = int(np.argmin(margins))
        if margins[best] >= self.margin:
            self._now = -1
            return
        self.margin = margins[best]
        self.pieces[self._now], self.changed[self._now] = self._trials[best]


def _misspelled(
    word: str, rng: np.random.Generator, *, homoglyphs: bool
) -> Iterator[tuple[str, int]]:
    """Yield a word misspelled, and how many characters that takes; its ends stay."""
    if len(word) >= _LEAST:
        inner = rng.permutation(np.arange(1, len(word) - 1)).tolist()
        for at in inner[:2]:
            yield word[:at] + word[at + 1 :], 1
            yield word[:at] + word[at] + word[at:], 1
            beside = _BESIDE.get(word[at].lower())
            if beside:
                yield word[:at] + beside + word[at + 1 :], 1
        for at in inner[:2]:
            if at + 1 < len(word) - 1 and word[at] != word[at + 1]:
                yield word[:at] + word[at + 1] + word[at] + word[at + 2 :], 2
    if homoglyphs:
        places = [at for at, one in enumerate(word) if one.translate(HOMOGLYPHS) != one]
        if places:
            at = places[int(rng.integers(len(places)))]
            yield word[:at] + word[at].translate(HOMOGLYPHS) + word[at + 1 :], 1


def _ask(
    model: TextPredictor,
    work: Iterable[_Text],
    questions: Callable[[_Text], list[str]],
    answered: Callable[[_Text, Scores], None],
) -> None:
    """Put the questions of all texts into one batch, and give each its answers."""
    asked = [(one, questions(one)) for one in work]
    batch = [text for _, given in asked for text in given]
    if not batch:
        return
    scores = _answers(model, batch)
    first = 0
    for one, given in asked:
        if given:
            one.tries -= len(given)
            answered(one, scores[first : first + len(given)])
            first += len(given)


def _answers(model: TextPredictor, texts: Sequence[str]) -> Scores:
    try:
        scores = np.asarray(model.predict(texts), dtype=np.float64)
    except VallumError:
        raise
    except Exception as error:  # a model is anybody's code
        raise GateError("the model fails on a text", code="attack.text.model") from error
    if scores.ndim != _MATRIX or len(scores) != len(texts) or scores.shape[1] < 2:  # noqa: PLR2004
        raise GateError(
            f"the model answers shape {scores.shape} to {len(texts)} texts",
            code="attack.text.scores",
        )
    if not np.isfinite(scores).all():
        raise GateError("the model answers no numbers", code="attack.text.scores")
    return scores
