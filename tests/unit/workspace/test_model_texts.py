"""Descriptions and tags beside models and versions: they change, and what they are about stays."""

import io

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import GateError, InputError, NotFoundError, RefusedError
from vallum.schema import Texts, api, mlflow_models, release

TOKEN = "ghp_" + "a1B2" * 9


def registered(place: Place) -> api.VersionShown:
    arguments = api.ModelRegister(
        name="risk", file_name="model.onnx", description="first", tags={"task": "regression"}
    )
    made = place.do("model.register", arguments, content=io.BytesIO(small_model())).value
    assert isinstance(made, api.VersionShown)
    return made


def change(place: Place, name: str = "risk", **more: object) -> release.ModelTexts:
    told = place.do("model.update", release.ModelUpdate(name=name, **more)).value  # type: ignore[arg-type]
    assert isinstance(told, release.ModelTexts)
    return told


def show(place: Place) -> api.VersionShown:
    shown = place.do("model.show", api.Named(name="risk")).value
    assert isinstance(shown, api.VersionShown)
    return shown


def test_a_model_and_its_version_have_texts_of_their_own_and_the_version_stays(
    place: Place,
) -> None:
    made = registered(place)
    told = change(place, description="for loans", tags={"owner": "fraud"}, remove_tags=("task",))
    assert (told.version, told.texts.description) == (None, "for loans")
    assert told.texts.tags == {"owner": "fraud"}
    told = change(place, "risk:1", description="on trial", tags={"a/b": "é"})
    assert (told.version, told.texts.tags) == (1, {"a/b": "é"})
    shown = show(place)
    assert (shown.texts.description, shown.model_texts.description) == ("on trial", "for loans")
    assert shown.version == made.version  # the tags that it was registered with, too
    asked = mlflow_models.VersionNamed(name="risk", version="1")
    theirs = place.do("model-version.get", asked).value
    assert isinstance(theirs, mlflow_models.VersionReply)
    assert theirs.model_version.description == "on trial"
    change(place, "risk", version=1, description="", remove_tags=("a/b",))
    assert show(place).texts == Texts()
    assert place.verify().findings == ()


def test_a_dry_run_changes_nothing(place: Place) -> None:
    registered(place)
    asked = release.ModelUpdate(name="risk", description="other")
    told = place.do("model.update", asked, dry_run=True).value
    assert isinstance(told, release.ModelTexts)
    assert told.texts.description == "other"
    assert show(place).model_texts.description == "first"


def test_a_secret_blocks_and_its_refusal_is_on_record(place: Place) -> None:
    registered(place)
    for name in ("risk", "risk:1"):
        for asked in (
            {"description": f"use {TOKEN}"}, {"tags": {"api_key": "9f8a7b6c5d4e3f2a1b0c"}},
            {"tags": {TOKEN: "x"}},
        ):  # fmt: skip
            with pytest.raises(GateError, match="secret"):
                change(place, name, **asked)
    assert show(place).texts == Texts()
    refused = [one for one in place.entries() if one[1] == "model.update"]
    assert [one[3] for one in refused] == ["gate.secrets"] * 6


def test_what_cannot_be_is_said_and_nothing_is_lost(place: Place) -> None:
    registered(place)
    wrong: list[tuple[dict[str, object], type[Exception], str]] = [
        ({}, InputError, "nothing is to be changed"),
        ({"remove_tags": ("none",)}, NotFoundError, "no tag 'none'"),
        ({"tags": {"a": "b"}, "remove_tags": ("a",)}, InputError, "set and removed"),
        ({"tags": {"../up": "b"}}, InputError, "looks like a path"),
        ({"tags": {"é": "b"}}, InputError, "not ASCII"),
        ({"description": "x" * 5001}, InputError, "at most 5000"),
    ]
    for asked, error, said in wrong:
        with pytest.raises(error, match=said):
            change(place, **asked)
    assert show(place).model_texts == Texts("first", {"task": "regression"})


def test_who_may_only_read_changes_nothing(place: Place) -> None:
    registered(place)
    reader = place.person("ana", "Reader")
    for name in ("risk", "risk:1"):
        with pytest.raises(RefusedError):
            place.do("model.update", release.ModelUpdate(name=name, description="x"), who=reader)
