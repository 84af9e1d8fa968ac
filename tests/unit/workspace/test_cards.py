"""Model cards: stored with the version, read with its record, and searched before that."""

import io
import json
import tarfile

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import GateError, InputError, NotFoundError, RefusedError
from vallum.scan.code.secrets import lines_of
from vallum.schema import Caller, Record, api, mlflow_models, release
from vallum.workspace.gates.texts import checked_card, find, require_clean

TOKEN = "ghp_" + "a1B2" * 9
CARD = "# Risk\n\nScores *loans*.\n"


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def register(place: Place, card: bytes = b"", who: Caller | None = None, **more: object) -> None:
    arguments = api.ModelRegister(
        name="risk", file_name="model.onnx", card_bytes=len(card), **more,  # type: ignore[arg-type]
    )  # fmt: skip
    place.do("model.register", arguments, who=who, content=io.BytesIO(card + small_model()))


def folder(place: Place, files: dict[str, bytes]) -> None:
    arguments = api.ModelRegister(name="risk", file_name="", folder=True)
    content = io.BytesIO(tar({"model.onnx": small_model(), **files}))
    place.do("model.register", arguments, content=content)


def card(place: Place, name: str = "risk", who: Caller | None = None) -> str:
    shown = place.do("model.card", api.Named(name=name), who=who).value
    assert isinstance(shown, release.CardShown)
    return shown.text


def test_a_card_belongs_to_its_version(place: Place) -> None:
    register(place, CARD.encode())
    register(place)
    shown = place.do("model.show", api.Named(name="risk:1")).value
    assert isinstance(shown, api.VersionShown)
    assert [part.length for part in shown.version.parts] == [len(small_model())]
    assert card(place, "risk:1") == CARD
    with pytest.raises(NotFoundError, match="has no model card"):
        card(place, "risk:2")
    reader = place.person("reader", "Reader")
    assert card(place, "risk:1", who=reader) == CARD
    with pytest.raises((RefusedError, NotFoundError)):
        card(place, "risk:1", who=place.person("newcomer"))
    place.do("model.delete", api.Named(name="risk:1"))
    with pytest.raises(NotFoundError):
        card(place, "risk:1")
    assert place.verify().findings == ()


def test_the_readme_of_a_folder_is_its_card_and_copies_keep_it(place: Place) -> None:
    folder(place, {"README.md": CARD.encode(), "MODEL_CARD.md": b"# other\n"})
    assert card(place) == CARD
    copy = mlflow_models.VersionCreate(name="copy", source="models:/risk/1")
    place.do("registered-model.register", copy)
    assert card(place, "copy") == CARD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"# Risk\n\nuse {TOKEN}\n", "line 3 of the model card holds a secret"),
        ("ask ana@example.org\n", r"holds personal data \(personal.email\)"),
        ("password = hunter22x9\n", "line 1 of the model card holds a secret"),
    ],
)
def test_a_card_that_tells_too_much_is_refused_without_telling(
    place: Place, text: str, said: str
) -> None:
    with pytest.raises(GateError, match=said) as refused:
        register(place, text.encode())
    assert refused.value.code == "gate.secrets"
    told = refused.value.message + refused.value.hint
    assert not {TOKEN, "ana@example.org", "hunter22x9"} & set(told.split())
    with pytest.raises(NotFoundError):
        place.do("model.show", api.Named(name="risk"))
    assert ("outcome", "model.register", True, "gate.secrets") in place.entries()


def test_files_that_people_write_are_searched(place: Place) -> None:
    cell = {"cell_type": "code", "source": ["x = 1\n"], "outputs": [
        {"output_type": "stream", "name": "stdout", "text": [f"token {TOKEN}\n"]},
    ], "metadata": {}, "execution_count": 1}  # fmt: skip
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    import msgspec

    from vallum.workspace.gates.texts import inspect_files

    payload = msgspec.msgpack.encode({
        "look.ipynb": json.dumps(notebook).encode(), "conf.yaml": f"key: {TOKEN}".encode(),
        "fine.md": b"nothing\n",
    })  # fmt: skip
    found = inspect_files(payload).hits
    assert {one.place for one in found} == {"cell 1/output 1 of `look.ipynb`", "`conf.yaml`"}
    with pytest.raises(GateError, match=r"a secret is written here \(`notes\.txt`"):
        folder(place, {"notes.txt": f"{TOKEN}\n".encode()})


@pytest.mark.parametrize(
    ("step", "arguments"),
    [
        ("registered-model.create", mlflow_models.RegisteredCreate(name="x", description=TOKEN)),
        ("registered-model.update", mlflow_models.RegisteredUpdate(name="risk", description=TOKEN)),
        ("registered-model.set-tag",
         mlflow_models.RegisteredSetTag(name="risk", key="note", value=TOKEN)),
        ("registered-model.set-tag",
         mlflow_models.RegisteredSetTag(name="risk", key="db_password", value="hunter22x9")),
        ("model-version.set-tag",
         mlflow_models.VersionSetTag(name="risk", version="1", key=TOKEN, value="")),
        ("model-version.update",
         mlflow_models.VersionUpdate(name="risk", version="1", description=f"see {TOKEN}")),
    ],
)  # fmt: skip
def test_tags_and_descriptions_are_searched(place: Place, step: str, arguments: Record) -> None:
    register(place)
    with pytest.raises(GateError) as refused:
        place.do(step, arguments)
    assert refused.value.code == "gate.secrets"
    assert TOKEN not in refused.value.message


def test_registering_with_a_secret_among_its_tags_is_refused(place: Place) -> None:
    with pytest.raises(GateError, match="tag 'key' holds a secret"):
        register(place, tags={"key": TOKEN})
    with pytest.raises(GateError, match="line 1 of the description"):
        register(place, description=TOKEN)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe", b"a\x1b[31mred", "shown \u202eback".encode(), b"x" * (128 * 1024 + 1)]
)
def test_a_card_is_text_that_shows_what_it_is(data: bytes) -> None:
    with pytest.raises(InputError):
        checked_card(data)


@pytest.mark.parametrize(
    "text",
    [
        "Made by Jane Doe in Berlin, 2024-01-02. AUC 0.93, sha256:abcdef0123456789.",
        "https://arxiv.org/abs/2103.00020, doi 10.1145/3442188.3445922, version 1.2.3.4",
        "The password is asked for; set `token: <your-token>`.",
    ],
)
def test_what_cards_usually_say_is_no_hit(text: str) -> None:
    assert find(lines_of(text, "card"), personal=True) == ()
    require_clean(tags={"mlflow.user": "mia", "pad_token": "[PAD]"}, description=text, card=text)
