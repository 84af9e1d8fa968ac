"""Aliases of models: they move, versions never change, and moving asks what deploying asks."""

import io
import json

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, InputError, NotFoundError, RefusedError
from vallum.schema import Caller, api, release, rules

SCANNED = {
    "version": "vallum.policy/1",
    "steps": {"alias": [{"gate": "scan", "subject": "models/versions"}]},
}


def register(place: Place, weight: float = 0.01) -> api.VersionShown:
    made = place.do(
        "model.register",
        api.ModelRegister(name="risk", file_name="risk.onnx"),
        content=io.BytesIO(small_model(weight)),
    ).value
    assert isinstance(made, api.VersionShown)
    return made


def alias(place: Place, name: str, version: int | None, who: Caller | None = None) -> None:
    arguments = release.ModelAlias(name="risk", alias=name, version=version)
    place.do("model.alias", arguments, who=who)


def named(place: Place, name: str) -> api.VersionShown:
    shown = place.do("model.show", api.Named(name=name)).value
    assert isinstance(shown, api.VersionShown)
    return shown


@pytest.fixture
def ready(place: Place) -> Place:
    document = json.dumps(SCANNED)
    place.do("policy.set", rules.PolicySet(document=document, reason="a test"))
    for weight in (0.01, 0.02, 0.03):
        register(place, weight)
    return place


def test_an_alias_names_a_version_and_moves(ready: Place) -> None:
    alias(ready, "champion", 1)
    first = named(ready, "risk@champion")
    assert first.version.version == 1
    alias(ready, "champion", 3)
    alias(ready, "challenger", None)
    assert named(ready, "risk@champion").version.version == 3
    assert named(ready, "risk:1").version == first.version  # it never changes
    told = [(one.name, one.version) for one in named(ready, "risk").aliases]
    assert told == [("challenger", 3), ("champion", 3)]
    ready.do("model.unalias", release.ModelUnalias(name="risk", alias="champion"))
    with pytest.raises(NotFoundError):
        named(ready, "risk@champion")
    assert ready.verify().findings == ()


def test_moving_one_asks_what_deploying_asks(place: Place) -> None:
    register(place)
    with pytest.raises(RefusedError) as refused:
        alias(place, "champion", 1)
    for missing in ("signature", "evasion", "membership"):
        assert missing in str(refused.value)
    assert refused.value.code == "policy.evidence"
    told = {(kind, gate) for kind, gate, _ in refused.value.missing}  # for machines
    wanted = ("signature", "evasion", "membership", "approvals")
    assert told == {("requirement", gate) for gate in wanted}


def test_it_needs_a_right_of_its_own(ready: Place) -> None:
    ana = ready.person("ana", "Vallum Auditor")
    with pytest.raises(RefusedError, match="promote"):
        alias(ready, "champion", 1, ana)
    alias(ready, "champion", 1)
    with pytest.raises(RefusedError, match="promote"):
        ready.do("model.unalias", release.ModelUnalias(name="risk", alias="champion"), who=ana)


@pytest.mark.parametrize("name", ["latest", "LATEST", "3", "v3", "a/b", "a@b", "", "a b"])
def test_an_alias_is_no_version_and_a_plain_name(ready: Place, name: str) -> None:
    with pytest.raises(InputError):
        alias(ready, name, 1)


def test_an_erased_version_loses_its_aliases_and_its_number_is_never_given_again(
    ready: Place,
) -> None:
    alias(ready, "champion", 3)
    ready.do("model.delete", api.Named(name="risk", version=3))
    with pytest.raises(NotFoundError):
        named(ready, "risk@champion")
    assert register(ready).version.version == 4
    with pytest.raises(NotFoundError):
        named(ready, "risk:3")
    assert ready.verify().findings == ()


@pytest.mark.guarantee("G6")
def test_a_number_is_registered_once_whether_it_is_there_or_deleted(ready: Place) -> None:
    ready.do("model.delete", api.Named(name="risk", version=3))
    for name in ("risk:1", "risk:3", "risk:9", "nothing:1"):  # tells nothing of what is there
        arguments = api.ModelRegister(name=name, file_name="model.onnx")
        with pytest.raises(ConflictError, match="a version never changes") as caught:
            ready.do("model.register", arguments, content=io.BytesIO(small_model()))
        assert (caught.value.status, caught.value.code) == (409, "version.immutable")
    reader = ready.person("ana", "Reader")
    again = api.ModelRegister(name="risk:1", file_name="model.onnx")
    with pytest.raises(RefusedError):
        ready.do("model.register", again, who=reader, content=io.BytesIO(small_model()))
    assert named(ready, "risk:1").version.version == 1
    assert ("outcome", "model.register", True, "version.immutable") in ready.entries()
