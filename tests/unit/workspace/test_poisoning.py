"""Poisoned data in a workspace: the gate, quarantine, what it reached, and the step back."""

import io
import json

import msgspec
import polars as pl
import pytest
from conftest_workspace import Place
from running import small_model
from sessions import training

from vallum.base import ConflictError, InputError, NotFoundError, RefusedError
from vallum.schema import AssetVersion, Caller, Verdict, api, rules
from vallum.schema import poisoning as wire

CLEAN, BAD = training(), training(poisoned=24)


def ingest(place: Place, content: bytes, name: str = "leaves") -> AssetVersion:
    made = place.do(
        "data.create", api.DataCreate(name=name, format="csv"), content=io.BytesIO(content)
    ).value
    assert isinstance(made, api.VersionShown)
    return made.version


def check(place: Place, name: str, **more: object) -> wire.DataChecked:
    made = place.do("data.check", wire.DataCheck(name=name, label_column="kind", **more)).value  # type: ignore[arg-type]
    assert isinstance(made, wire.DataChecked)
    return made


def take_out(place: Place, name: str, **more: object) -> wire.DataQuarantined:
    args = wire.DataQuarantine(name=name, label_column="kind", by_version=True)
    made = place.do("data.quarantine", args, **more).value
    assert isinstance(made, wire.DataQuarantined)
    return made


def register(place: Place, name: str, lineage: tuple[str, ...], step: float) -> AssetVersion:
    made = place.do(
        "model.register",
        api.ModelRegister(name=name, file_name="m.onnx", lineage=lineage),
        content=io.BytesIO(small_model(step)),
    ).value
    assert isinstance(made, api.VersionShown)
    return made.version


def affected(place: Place, who: Caller | None = None) -> wire.DataAffected:
    made = place.do("data.affected", api.Named(name="leaves:2"), who=who).value
    assert isinstance(made, wire.DataAffected)
    return made


def test_the_gate_tells_counts_and_how_often_it_is_wrong_and_names_nobody(place: Place) -> None:
    ingest(place, CLEAN)
    ingest(place, BAD)
    (passed,) = [one for one in check(place, "leaves:1").evidence if one.gate == "poisoning"]
    assert passed.verdict is Verdict.PASS
    assert passed.parameters["false_alarms"] == "0.05"
    found = check(place, "leaves:2", by_version=True)
    (failed,) = [one for one in found.evidence if one.gate == "poisoning"]
    assert failed.verdict is Verdict.FAIL
    assert failed.threat == "data-poisoning"
    assert failed.measures["flagged"] == failed.measures["label_conflict"] == "24"
    assert (failed.measures["rows"], failed.measures["contributors"]) == ("400", "1")
    assert found.contributors[0].name == place.owner.id
    assert place.owner.id not in json.dumps(msgspec.to_builtins(failed.measures))
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        logged = house.log.entries(snapshot, limit=1000)
    assert b"elm" not in msgspec.json.encode([one.entry for one in logged])


def test_policy_asks_for_the_gate_before_training_and_registration(place: Place) -> None:
    version = ingest(place, BAD)
    rule = '{"gate": "poisoning", "subject": "data/versions", "if_named": true}'
    document = (
        f'{{"version": "vallum.policy/1", "steps": {{"train": [{rule}], "register": [{rule}]}}}}'
    )
    place.do("policy.set", rules.PolicySet(document=document, reason="poison"))
    with pytest.raises(RefusedError, match="no evidence of gate `poisoning`"):
        register(place, "risk", (version.id,), 0.01)
    check(place, "leaves")
    with pytest.raises(RefusedError, match="gate `poisoning` failed"):
        register(place, "risk", (version.id,), 0.01)
    made = take_out(place, "leaves")
    kept = place.do("data.show", api.Named(name="leaves", version=made.version)).value
    assert isinstance(kept, api.VersionShown)
    assert register(place, "risk", (kept.version.id,), 0.01).lineage == (kept.version.id,)
    # A job that names no data has nothing that could be poisoned.
    with pytest.raises(InputError, match="the request has no content"):
        place.do("job.submit", api.JobSubmit(name="j", entry="a.py"))
    with pytest.raises(RefusedError, match="gate `poisoning` failed"):
        place.do("job.submit", api.JobSubmit(name="j", entry="a.py", inputs={"d": "data/leaves:1"}))


def test_a_column_of_ones_own_hides_nothing_from_a_rule_that_names_the_columns(
    place: Place,
) -> None:
    """A column that repeats the wrong labels makes them fit; the rule asks about the others."""
    frame = pl.read_csv(BAD)
    echo = (frame["kind"] == "oak").cast(pl.Float64) * 40 + frame["length"] / 100
    hidden = frame.with_columns(note=echo, tree=pl.Series(["a", "b", "c", "d"] * 100))
    version = ingest(place, hidden.write_csv().encode())
    asked = {"label_column": "kind", "features": "length,width"}
    rule = {"gate": "poisoning", "subject": "data/versions", "parameters": asked}
    document = json.dumps({"version": "vallum.policy/1", "steps": {"register": [rule]}})
    place.do("policy.set", rules.PolicySet(document=document, reason="poison"))
    found = check(place, "leaves")
    (all_of_it,) = [one for one in found.evidence if one.gate == "poisoning"]
    assert all_of_it.verdict is Verdict.PASS  # hidden: nobody who looks at every column sees it
    check(place, "leaves", features=("note",))
    place.do("data.check", wire.DataCheck(name="leaves", label_column="tree"))
    with pytest.raises(RefusedError, match="too old or does not count"):
        register(place, "risk", (version.id,), 0.01)
    found = check(place, "leaves", features=("width", "length"))
    (told,) = [one for one in found.evidence if one.parameters.get("features") == "length,width"]
    assert told.verdict is Verdict.FAIL
    assert (told.measures["flagged"], told.measures["columns_beside"]) == ("24", "2")
    with pytest.raises(RefusedError, match="gate `poisoning` failed"):
        register(place, "risk", (version.id,), 0.01)
    # What is left when the named columns are looked at passes by the same rule.
    made = place.do(
        "data.quarantine",
        wire.DataQuarantine(name="leaves", label_column="kind", features=("length", "width")),
    ).value
    assert isinstance(made, wire.DataQuarantined)
    assert (made.removed, made.suspicious) == (24, False)
    kept = place.do("data.show", api.Named(name="leaves", version=made.version)).value
    assert isinstance(kept, api.VersionShown)
    assert register(place, "risk", (kept.version.id,), 0.01).lineage == (kept.version.id,)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (("nothing",), "no such feature `nothing`"),
        (("kind",), "no such feature `kind`"),
        (("length,width",), "has a comma"),
        (("length", "remark"), "`remark` is no measurement"),
    ],
)
def test_columns_that_cannot_be_looked_at_are_refused(
    place: Place, features: tuple[str, ...], said: str
) -> None:
    remarks = [f"remark {at}" for at in range(400)]
    frame = pl.read_csv(CLEAN).with_columns(
        pl.Series("remark", remarks), pl.Series("length,width", range(400))
    )
    ingest(place, frame.write_csv().encode())
    with pytest.raises(InputError, match=said):
        check(place, "leaves", features=features)


def test_quarantine_makes_a_version_and_keeps_why_under_a_right_of_its_own(place: Place) -> None:
    source = ingest(place, BAD)
    assert take_out(place, "leaves", dry_run=True).removed == 24
    with pytest.raises(NotFoundError):
        place.do("data.show", api.Named(name="leaves:2"))
    made = take_out(place, "leaves")
    assert (made.source, made.version, made.removed, made.kept) == (1, 2, 24, 376)
    assert (made.reasons, made.suspicious) == ({"label-conflict": 24}, False)
    chunks = place.do("data.download", api.Named(name="leaves:2")).chunks
    assert chunks is not None
    left = pl.read_csv(b"".join(chunks))
    assert left.equals(pl.read_csv(BAD)[24:])
    shown = place.do("data.show", api.Named(name="leaves:2")).value
    assert isinstance(shown, api.VersionShown)
    assert shown.version.lineage == (source.id,)
    verdicts = {one.gate: one.verdict for one in shown.evidence}
    assert verdicts["poisoning"] is Verdict.PASS

    told = place.do("data.quarantined", api.Named(name="leaves:2")).value
    assert isinstance(told, wire.DataQuarantineShown)
    assert told.source == "leaves:1"
    assert {one.row for one in told.rows} == set(range(24))
    assert {one.by for one in told.rows} == {place.owner.id}
    reader = place.person("reader", "Vallum Data Reader")
    with pytest.raises(RefusedError, match="quarantine/read"):
        place.do("data.quarantined", api.Named(name="leaves:2"), who=reader)
    with pytest.raises(NotFoundError, match="not made by a quarantine"):
        place.do("data.quarantined", api.Named(name="leaves:1"))
    with pytest.raises(RefusedError):
        place.do(
            "data.quarantine", wire.DataQuarantine(name="leaves:1", label_column="kind"),
            who=reader,
        )  # fmt: skip
    assert place.verify().findings == ()


def test_of_clean_data_no_version_is_made(place: Place) -> None:
    ingest(place, CLEAN)
    made = take_out(place, "leaves")
    assert (made.version, made.removed, made.suspicious) == (None, 0, False)
    shown = place.do("data.show", api.Named(name="leaves")).value
    assert isinstance(shown, api.VersionShown)
    assert shown.version.version == 1
    assert "poisoning" in {one.gate for one in shown.evidence}


def test_a_version_that_comes_meanwhile_is_not_taken_for_the_one_that_was_looked_at(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vallum.workspace.steps import poisoning as module

    ingest(place, BAD)
    looked = module.inspect_poisoning

    def slow(*given: object) -> object:
        ingest(place, CLEAN)
        return looked(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "inspect_poisoning", slow)
    with pytest.raises(ConflictError, match="another version meanwhile"):
        check(place, "leaves")


def test_what_a_version_reached_is_told_to_each_as_far_as_they_may_know(place: Place) -> None:
    ingest(place, CLEAN)
    bad = ingest(place, BAD)
    made = take_out(place, "leaves")
    first = register(place, "risk", (bad.id,), 0.01)
    register(place, "other", (), 0.02)
    secret = register(place, "secret", (first.id,), 0.03)
    found = affected(place)
    assert [(one.name, one.version) for one in found.models] == [("risk", 1), ("secret", 1)]
    assert [(one.name, one.version) for one in found.data] == [("leaves", made.version)]
    assert found.hidden == 0
    reader = place.person("reader", "Vallum Data Reader")
    limited = affected(place, reader)
    assert (limited.models, [one.name for one in limited.data], limited.hidden) == (
        (), ["leaves"], 2,
    )  # fmt: skip
    assert secret.digest not in msgspec.json.encode(limited).decode()
    stranger = place.person("stranger")
    with pytest.raises(NotFoundError, match="may not know of it"):
        affected(place, stranger)


def test_stepping_back_moves_the_alias_to_the_newest_clean_version(place: Place) -> None:
    ingest(place, CLEAN)
    bad = ingest(place, BAD)
    register(place, "risk", (bad.id,), 0.01)
    with pytest.raises(InputError, match="no version of leaves passed"):
        place.do("data.revert", wire.DataRevert(name="leaves"))
    check(place, "leaves:1")
    check(place, "leaves:2")
    with pytest.raises(InputError, match="no version of leaves:2 passed"):
        place.do("data.revert", wire.DataRevert(name="leaves:2"))
    made = place.do("data.revert", wire.DataRevert(name="leaves")).value
    assert isinstance(made, wire.DataReverted)
    assert (made.version, made.before, made.alias) == (1, None, "trusted")
    assert [(one.model, one.instead_of, one.on) for one in made.retrain] == [
        ("risk:1", "leaves:2", "leaves:1")
    ]
    shown = place.do("data.show", api.Named(name="leaves@trusted")).value
    assert isinstance(shown, api.VersionShown)
    assert (shown.version.version, shown.aliases[0].name) == (1, "trusted")

    take_out(place, "leaves:2")
    after = place.do("data.revert", wire.DataRevert(name="leaves")).value
    assert isinstance(after, wire.DataReverted)
    assert (after.version, after.before) == (3, 1)
    scientist = place.person("reader", "Vallum Data Reader")
    with pytest.raises(RefusedError, match="promote"):
        place.do("data.revert", wire.DataRevert(name="leaves"), who=scientist)
    for word in ("latest", "7"):
        with pytest.raises(InputError, match="taken for a version"):
            place.do("data.revert", wire.DataRevert(name="leaves", alias=word))


def test_a_failure_under_another_label_is_not_washed_away_by_a_pass(place: Place) -> None:
    ingest(place, BAD)
    place.do("data.check", wire.DataCheck(name="leaves", label_column="kind"))
    table = pl.read_csv(BAD).with_columns(pl.Series("fold", [0, 1] * 200))
    version = ingest(place, table.write_csv().encode(), name="folds")
    place.do("data.check", wire.DataCheck(name="folds", label_column="kind"))
    place.do("data.check", wire.DataCheck(name="folds", label_column="fold"))
    with pytest.raises(InputError, match="no version of folds passed"):
        place.do("data.revert", wire.DataRevert(name="folds"))
    assert version.version == 1
