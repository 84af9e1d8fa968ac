"""Recognizers of others behind Presidio's interface, and spaCy pipelines read from a folder.

Anything with `analyze(text, entities, nlp_artifacts)` that returns results with `entity_type`,
`start`, `end` and `score` will do: every recognizer of presidio-analyzer, and `SpacyModel` here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from vallum.base import InputError
from vallum.privacy.lexicon import CITY, COUNTRY, lexicon
from vallum.privacy.names import NAME, PLACES

Foreign: TypeAlias = Any  # an object of presidio-analyzer, whatever its version
PLACE: Final = "location.place"
# What recognizers call it, and what we do. Groups (NRP), organizations and dates are left out: who
# wants them gives a mapping of their own.
ENTITIES: Final[Mapping[str, str]] = {
    "PERSON": NAME, "PER": NAME, "LOCATION": PLACE, "LOC": PLACE, "GPE": PLACE, "FAC": PLACE,
    "CITY": PLACES[CITY], "COUNTRY": PLACES[COUNTRY], "ADDRESS": "personal.address",
    "EMAIL_ADDRESS": "personal.email", "PHONE_NUMBER": "personal.phone",
    "CREDIT_CARD": "financial.card", "IBAN_CODE": "financial.iban", "IP_ADDRESS": "network.ip",
    "MAC_ADDRESS": "network.mac", "URL": "network.url", "US_SSN": "government.us.ssn",
    "UK_NHS": "government.uk.nhs", "CRYPTO": "crypto.btc", "MEDICAL_LICENSE": "health.us.dea",
}  # fmt: skip
MAX_CHARS: Final = 100_000  # of a piece that a model sees at once: spaCy needs about 1 GB for more
_LETTER = re.compile(r"[^\W\d_]")


class Result(Protocol):
    """One result, as presidio-analyzer's `RecognizerResult`."""

    @property
    def entity_type(self) -> str:
        """Return what it is called there."""

    @property
    def start(self) -> int:
        """Return the first code point."""

    @property
    def end(self) -> int:
        """Return the code point after the last."""

    @property
    def score(self) -> float:
        """Return how sure it is, from 0 to 1."""


class Recognizer(Protocol):
    """What presidio-analyzer calls an `EntityRecognizer`."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Foreign
    ) -> Sequence[Result] | None:
        """Return what is found in a text."""


class WithEngine:
    """A recognizer of Presidio that wants its texts read by an engine first, as `SpacyRecognizer`.

    Args:
        recognizer: Of presidio-analyzer.
        engine: An `NlpEngine`: something with `process_text(text, language)`.
        language: Of the texts.
    """

    def __init__(self, recognizer: Recognizer, engine: Foreign, language: str = "en") -> None:
        self._recognizer = recognizer
        self._engine = engine
        self._language = language

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Foreign
    ) -> Sequence[Result] | None:
        """Read the text with the engine and ask the recognizer."""
        made = nlp_artifacts or self._engine.process_text(text, self._language)
        return self._recognizer.analyze(text, entities, made)


class _Hit:
    """A result of `SpacyModel`."""

    def __init__(self, entity_type: str, start: int, end: int, score: float) -> None:
        self.entity_type = entity_type
        self.start = start
        self.end = end
        self.score = score


class SpacyModel:
    """A spaCy pipeline with a component that names entities, read from a folder by `read_spacy`."""

    score: Final = 0.85  # spaCy gives none; the figure that Presidio uses for it

    def __init__(self, nlp: Callable[[str], Any]) -> None:
        self._nlp = nlp

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Foreign) -> list[_Hit]:
        """Return the entities of the pipeline; `entities` narrows them, if there are any."""
        del nlp_artifacts
        wanted = frozenset(entities)
        return [
            _Hit(one.label_, one.start_char, one.end_char, self.score)
            for one in self._nlp(text).ents
            if not wanted or one.label_ in wanted
        ]


def recognize(
    text: str, recognizers: Sequence[Recognizer], entities: Mapping[str, str]
) -> list[tuple[int, int, str, float]]:
    """Ask all recognizers about one text.

    Args:
        text: Any text; a long one is given in pieces that end at a line.
        recognizers: To be asked.
        entities: Their entities, and the type that each is; others are left out.

    Returns:
        Start, end (code points), type and score of each result.

    Raises:
        InputError: A result lies outside its text or its score is not between 0 and 1.
    """
    if not recognizers or not _LETTER.search(text):
        return []
    found = []
    start = 0
    while start < len(text):
        stop = start + MAX_CHARS
        if stop < len(text):
            line = text.rfind("\n", start + 1, stop)
            stop = stop if line < 0 else line + 1
        piece = text[start:stop].encode("utf-8", "replace").decode()  # lone surrogates: `?`
        for recognizer in recognizers:
            for one in recognizer.analyze(piece, sorted(entities), None) or ():
                if not (0 <= one.start < one.end <= len(piece) and 0 <= one.score <= 1):
                    raise InputError(
                        f"a recognizer returned {one.start}..{one.end} with score {one.score} for "
                        f"a text of {len(piece)} characters",
                        code="pii.recognizer",
                        hint="offsets are code points of the text that it was given",
                    )
                type_ = entities.get(one.entity_type)
                if type_ is not None and one.score > 0:
                    type_ = _place(piece[one.start : one.end]) if type_ == PLACE else type_
                    found.append((start + one.start, start + one.end, type_, float(one.score)))
        start = stop
    return found


def _place(text: str) -> str:
    plain = text.lower()
    words = lexicon()
    flags = words.words.get(plain, 0) | words.places.get(plain.replace("-", " "), 0)
    return PLACES[COUNTRY] if flags & COUNTRY else PLACE


_REFUSED: Final = frozenset(
    {".py", ".pyc", ".pyd", ".so", ".dll", ".pkl", ".pickle", ".pt", ".joblib", ".zip", ".whl"}
)
_PICKLE: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_MAX_FILES: Final = 1_000
_MAX_BYTES: Final = 2 * 1024 * 1024 * 1024
# Registered functions of spaCy itself: those of other packages could do anything.
_KNOWN: Final = re.compile(r"(?:spacy|spacy-legacy)\.[A-Za-z0-9_.-]+")
_REGISTRIES: Final = frozenset({"@architectures", "@tokenizers", "@vectors", "@scorers", "@misc"})
_COMPONENTS: Final = frozenset({
    "tok2vec", "ner", "tagger", "parser", "senter", "sentencizer", "morphologizer",
    "attribute_ruler", "lemmatizer", "entity_ruler", "trainable_lemmatizer", "textcat",
    "textcat_multilabel", "span_ruler", "spancat", "beam_ner", "doc_cleaner",
})  # fmt: skip


def read_spacy(folder: Path) -> SpacyModel:
    """Read a spaCy pipeline from a folder, as `nlp.to_disk` writes it.

    Nothing in the folder is executed: its configuration may name functions and components of spaCy
    alone, and no callback; a folder with code, pickles or links is refused.

    Args:
        folder: Holds `config.cfg` and `meta.json`.

    Raises:
        InputError: spaCy is missing, the folder is no pipeline, or it is refused.
    """
    _check_files(folder)
    try:
        import spacy
        from thinc.api import Config
    except ImportError as error:
        raise InputError(
            "a spaCy pipeline needs spaCy", code="pii.spacy", hint="pip install spacy"
        ) from error
    try:
        config = Config().from_disk(folder / "config.cfg", interpolate=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"`{folder}` has no `config.cfg` that can be read",
            code="pii.spacy",
            hint="give the folder that `nlp.to_disk` wrote, or `model-best` of `spacy train`",
        ) from error
    _check_config(config)
    try:
        nlp = spacy.load(folder)
    except Exception as error:  # spaCy's errors have no common base
        raise InputError(
            f"spaCy cannot read `{folder}`: {str(error)[:200]}",
            code="pii.spacy",
            hint="a pipeline is read by the minor version of spaCy that it was trained with",
        ) from error
    return SpacyModel(nlp)


def _check_files(folder: Path) -> None:
    if not (folder / "config.cfg").is_file() or folder.is_symlink():
        raise InputError(
            f"`{folder}` is no folder of a spaCy pipeline: it has no `config.cfg`",
            code="pii.spacy",
            hint="give the folder that `nlp.to_disk` wrote, or `model-best` of `spacy train`",
        )
    size = 0
    for count, path in enumerate(folder.rglob("*")):
        if path.is_symlink() or path.suffix.lower() in _REFUSED:
            raise _unsafe(folder, f"it holds `{path.name[:80]}`")
        if not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(2) in _PICKLE:
                raise _unsafe(folder, f"`{path.name[:80]}` is a pickle")
        size += path.stat().st_size
        if size > _MAX_BYTES or count > _MAX_FILES:
            raise _unsafe(folder, f"it has more than {_MAX_FILES} files or {_MAX_BYTES} bytes")


def _check_config(config: Mapping[str, Any]) -> None:
    nlp = config.get("nlp", {})
    if not re.fullmatch(r"[a-z]{2,3}", str(nlp.get("lang", ""))):
        raise _unsafe("the pipeline", "its language is none of spaCy's")
    for name in ("before_creation", "after_creation", "after_pipeline_creation"):
        if nlp.get(name) is not None:
            raise _unsafe("the pipeline", f"`nlp.{name}` is a callback")
    for name, component in config.get("components", {}).items():
        factory = component.get("factory") if isinstance(component, Mapping) else None
        if factory not in _COMPONENTS:
            raise _unsafe("the pipeline", f"component `{str(name)[:80]}` is not one of spaCy's")
    waiting: list[object] = [nlp, config.get("components", {})]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
            for key, value in one.items():
                known = key in _REGISTRIES and _KNOWN.fullmatch(str(value)) is not None
                if str(key).startswith("@") and not known:
                    raise _unsafe("the pipeline", f"`{key} = {str(value)[:80]}` is not spaCy's")
        elif isinstance(one, list | tuple):
            waiting += one


def _unsafe(what: object, reason: str) -> InputError:
    return InputError(
        f"`{what}` is refused: {reason}",
        code="pii.spacy-unsafe",
        hint="only data of spaCy's own components is read",
    )
