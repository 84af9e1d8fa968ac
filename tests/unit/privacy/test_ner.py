"""Recognizers of others: a name that no dictionary holds, found by a model trained here."""

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from vallum.base import InputError
from vallum.privacy import (
    ENTITIES,
    WithEngine,
    discover_nested,
    discover_table,
    discover_text,
    discover_texts,
    read_spacy,
)

TRAINED = ("Xolqvist", "Brunhafen", "Qarizma", "Tzolkin", "Vlarengo", "Mbrezda", "Oupthwa")
UNKNOWN = "Vrombolst"
SENTENCES = (
    "yesterday {} walked home",
    "yesterday {} went to the doctor",
    "then {} walked to the shop",
    "then {} went home again",
)


def span(text: str, name: str) -> dict[str, list[tuple[int, int, str]]]:
    return {"entities": [(text.index(name), text.index(name) + len(name), "PERSON")]}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed")
    from spacy.training import Example
    from spacy.util import fix_random_seed

    fix_random_seed(3)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    texts = [(one.format(name), name) for name in TRAINED for one in SENTENCES]
    examples = [Example.from_dict(nlp.make_doc(text), span(text, name)) for text, name in texts]
    examples += [
        Example.from_dict(nlp.make_doc(text), {"entities": []})
        for text in ("the doctor walked home", "nothing went to the shop", "then again nothing")
    ]
    nlp.initialize(lambda: examples)
    for _ in range(25):
        nlp.update(examples)
    folder = tmp_path_factory.mktemp("spacy") / "model"
    nlp.to_disk(folder)
    return folder


def test_a_name_that_no_dictionary_holds_is_found_through_a_model(pipeline: Path) -> None:
    text = f"é😀 yesterday {UNKNOWN} walked home"
    assert discover_text(text) == ()
    ((found,),) = discover_texts([text], recognizers=[read_spacy(pipeline)])
    assert (text[found.start : found.end], found.type) == (UNKNOWN, "personal.name")
    assert found.score == 0.85


def test_a_model_is_asked_about_columns_and_documents_too(pipeline: Path) -> None:
    model = read_spacy(pipeline)
    text = f"yesterday {UNKNOWN} walked home"
    (column,) = discover_table(pl.DataFrame({"note": [text, text]}), recognizers=[model]).columns
    assert (column.type, column.count) == ("personal.name", 2)
    ((found,),) = discover_nested([{"note": text}], recognizers=[model])
    assert (found[0], found[1].type) == ("note", "personal.name")
    assert text[found[1].start : found[1].end] == UNKNOWN


def test_the_recognizer_of_presidio_is_taken_as_it_is(pipeline: Path) -> None:
    pytest.importorskip("presidio_analyzer", reason="presidio-analyzer is not installed")
    from presidio_analyzer import Pattern, PatternRecognizer
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        engine = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": str(pipeline)}])
        engine.load()
        badge = PatternRecognizer(
            supported_entity="BADGE", patterns=[Pattern("badge", r"B-\d{3}", 0.7)]
        )
        text = f"yesterday {UNKNOWN} walked home with B-123"
        (found,) = discover_texts(
            [text],
            recognizers=[WithEngine(SpacyRecognizer(), engine), badge],
            entities={**ENTITIES, "BADGE": "personal.badge"},
        )
    assert {(text[one.start : one.end], one.type) for one in found} == {
        (UNKNOWN, "personal.name"),
        ("B-123", "personal.badge"),
    }


@dataclass
class Hit:
    entity_type: str
    start: int
    end: int
    score: float = 0.9


class Told:
    """A recognizer that says what it was told to."""

    def __init__(self, *hits: Hit) -> None:
        self.hits = hits
        self.texts: list[str] = []

    def analyze(self, text: str, entities: list[str], nlp_artifacts: object) -> list[Hit]:
        assert "PERSON" in entities
        assert nlp_artifacts is None
        self.texts.append(text)
        return list(self.hits)


@pytest.mark.parametrize(
    "hit",
    [
        Hit("PERSON", -1, 3),
        Hit("PERSON", 0, 99),
        Hit("PERSON", 3, 3),
        Hit("PERSON", 0, 3, 1.5),
        Hit("PERSON", 0, 3, float("nan")),
    ],
)
def test_a_result_outside_its_text_is_an_error(hit: Hit) -> None:
    with pytest.raises(InputError, match="recognizer") as caught:
        discover_texts(["some words"], recognizers=[Told(hit)])
    assert caught.value.code == "pii.recognizer"


def test_what_nobody_asked_for_is_left_out_and_a_pattern_keeps_its_place() -> None:
    text = "mail ann@example.org in Utopia or Brazil"
    told = Told(
        Hit("PERSON", 5, 8), Hit("DATE_TIME", 0, 4), Hit("NRP", 0, 4),
        Hit("GPE", text.index("Utopia"), text.index("Utopia") + 6),
        Hit("GPE", text.index("Brazil"), text.index("Brazil") + 6),
    )  # fmt: skip
    (found,) = discover_texts([text], recognizers=[told])
    assert [(text[one.start : one.end], one.type) for one in found] == [
        ("ann@example.org", "personal.email"),
        ("Utopia", "location.place"),
        ("Brazil", "location.country"),
    ]


def test_a_text_without_words_is_not_asked_about_and_a_long_one_comes_in_pieces() -> None:
    told = Told()
    discover_texts(["", "12 34", "word\n" * 50_000, "\ud800 x"], recognizers=[told])
    assert "".join(told.texts[:-1]) == "word\n" * 50_000
    assert len(told.texts) > 2
    assert max(map(len, told.texts)) <= 100_000


def test_a_piece_of_a_long_text_keeps_its_offsets() -> None:
    class Last:
        def analyze(self, text: str, *_: object) -> list[Hit]:
            at = text.find("zzqx")
            return [Hit("PERSON", at, at + 4)] if at >= 0 else []

    text = "some words\n" * 20_000 + "zzqx"
    ((found,),) = discover_texts([text], recognizers=[Last()])
    assert text[found.start : found.end] == "zzqx"


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no `config\.cfg`"):
        read_spacy(tmp_path)
    with pytest.raises(InputError, match=r"no `config\.cfg`"):
        read_spacy(tmp_path / "missing")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("before_creation = null", 'before_creation = {"@callbacks":"evil.v1"}'),
        (
            "after_creation = null",
            'after_creation = {"@callbacks":"spacy.copy_from_base_model.v1"}',
        ),
        ('factory = "ner"', 'factory = "evil"'),
        ('factory = "ner"', 'source = "other"'),
        ('"spacy.Tokenizer.v1"', '"evil.Tokenizer.v1"'),
        ('"spacy.TransitionBasedParser.v2"', '"spacy-transformers.TransformerModel.v3"'),
        ('"spacy.HashEmbedCNN.v2"', "${paths.train}"),
        ('lang = "en"', 'lang = "../x"'),
        ("train = null", "train = ${no.such}"),
    ],
)
def test_a_configuration_that_names_code_is_refused(
    pipeline: Path, tmp_path: Path, old: str, new: str
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(pipeline, copy)
    config = (copy / "config.cfg").read_text()
    assert old in config
    (copy / "config.cfg").write_text(config.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_spacy(copy)
    assert caught.value.code in {"pii.spacy-unsafe", "pii.spacy"}
    assert (caught.value.code == "pii.spacy") == ("no.such" in new)


@pytest.mark.parametrize(
    ("name", "data"),
    [("model.py", b""), ("x.pkl", b""), ("ner/extra", b"\x80\x04."), ("lib.so", b"")],
)
def test_code_and_pickles_in_the_folder_are_refused(
    pipeline: Path, tmp_path: Path, name: str, data: bytes
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(pipeline, copy)
    (copy / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_spacy(copy)
    assert caught.value.code == "pii.spacy-unsafe"


def test_a_link_in_the_folder_is_refused(pipeline: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(pipeline, copy)
    (copy / "more").symlink_to("/etc")
    with pytest.raises(InputError) as caught:
        read_spacy(copy)
    assert caught.value.code == "pii.spacy-unsafe"


def test_a_damaged_pipeline_is_a_clear_error(pipeline: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(pipeline, copy)
    (copy / "ner" / "model").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read") as caught:
        read_spacy(copy)
    assert caught.value.code == "pii.spacy"


def test_the_command_takes_a_pipeline(pipeline: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(f"yesterday {UNKNOWN} walked home\n")
    command = [sys.executable, "-m", "vallum.cli", "--json", "pii", str(notes)]
    done = subprocess.run(  # noqa: S603 - our own program
        [*command, "--spacy-model", str(pipeline)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (span,) = json.loads(done.stdout)["files"][0]["spans"]
    assert (span["type"], span["start"], span["end"]) == ("personal.name", 10, 10 + len(UNKNOWN))


def test_without_spacy_the_error_names_the_fix(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(InputError) as caught:
        read_spacy(pipeline)
    assert caught.value.hint == "pip install spacy"
