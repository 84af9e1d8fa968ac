"""The erasure of a person: new versions, shredded old ones, what backups and crashes bring back."""

import io
from pathlib import Path

import msgspec
import polars as pl
import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, InputError, NotFoundError, RefusedError, SealedError, Secret
from vallum.crypto import FileKeyProvider, Keyring, WrappedKey
from vallum.schema import PrivateData, WrappedDataKey, api, views
from vallum.schema import privacy as wire
from vallum.workspace.bootstrap import Places
from vallum.workspace.intent import settle_all
from vallum.workspace.steps import forget as module

ROWS = 60
ADA = ("email=ADA7@example.org",)


def people(offset: int = 0) -> bytes:
    rows = (
        f"{1000 + at},ada{at}@example.org,{20 + at % 40},{at % 3}\n"
        for at in range(offset, offset + ROWS)
    )
    return b"patient_id,email,age,ill\n" + "".join(rows).encode()


def ingest(place: Place, name: str, content: bytes, kind: str = "csv") -> str:
    made = place.do(
        "data.create", api.DataCreate(name=name, format=kind), content=io.BytesIO(content)
    ).value
    assert isinstance(made, api.VersionShown)
    return made.version.id


def table(place: Place, name: str, kind: str = "csv") -> pl.DataFrame:
    chunks = place.do("data.download", api.Named(name=name)).chunks
    assert chunks is not None
    data = b"".join(chunks)
    return pl.read_csv(data) if kind == "csv" else pl.read_parquet(data)


def forget(
    place: Place, identifiers: tuple[str, ...] = ADA, **more: object
) -> views.ErasureCertificate:
    made = place.do(
        "data.forget", views.DataForget(identifiers=identifiers, reason="request 17"), **more
    ).value
    assert isinstance(made, views.ErasureCertificate)
    return made


@pytest.mark.slow
def test_a_person_is_erased_everywhere_and_nobody_else(place: Place) -> None:
    first = ingest(place, "people", people())
    ingest(place, "people", people())
    parquet = io.BytesIO()
    pl.read_csv(people(5)).write_parquet(parquet)
    ingest(place, "visits", parquet.getvalue(), "parquet")
    ingest(place, "others", people(500))
    place.do("data.protect", api.DataProtect(name="people", k=3, quasi_identifiers=("age",)))
    place.do(
        "model.register",
        api.ModelRegister(name="risk", file_name="risk.onnx", lineage=(first,)),
        content=io.BytesIO(small_model()),
    )
    table(place, "people")
    untouched = table(place, "others")

    found = forget(place, dry_run=True)
    assert {(one.name, one.version) for one in found.erased} == {
        ("people", 1), ("people", 2), ("people-protected", 1), ("visits", 1),
    }  # fmt: skip
    assert table(place, "people").height == ROWS  # nothing was changed

    made = forget(place)
    by_name = {(one.name, one.version): one for one in made.erased}
    assert by_name["people", 2].replaced_by == 3
    assert by_name["people", 1].replaced_by is None
    assert by_name["people-protected", 1].why == "made from a version that did"
    assert made.models == ("risk:1",)
    assert any(" data.download people:2 " in one for one in made.readers)
    assert made.searched == 5
    left = table(place, "people")
    assert left.height == ROWS - 1
    assert "ada7@example.org" not in left["email"]
    assert table(place, "visits", "parquet").height == ROWS - 1
    assert table(place, "others").equals(untouched)
    for gone in ("people:1", "people:2", "people-protected"):
        with pytest.raises(NotFoundError):
            place.do("data.download", api.Named(name=gone))
    assert place.verify().findings == ()
    again = forget(place)
    assert again.erased == ()
    assert again.survives == ()


def test_a_person_is_found_by_type_by_column_and_by_number(place: Place) -> None:
    ingest(place, "people", people())
    for identifiers in (
        ("personal.email=ada9@example.org",),
        ("patient_id=1009",),
        ("Patient_ID=1009", "email=nobody@example.org"),
    ):
        (one,) = forget(place, identifiers, dry_run=True).erased
        assert one.removed == 1
    assert forget(place, ("age=1009",), dry_run=True).erased == ()
    assert forget(place, ("email=nobody@example.org",), dry_run=True).erased == ()


@pytest.mark.parametrize("identifiers", [(), ("ada",), ("=ada",), ("email=",), ("a=b",) * 101])
def test_what_names_nobody_is_refused(place: Place, identifiers: tuple[str, ...]) -> None:
    ingest(place, "people", people())
    with pytest.raises(InputError):
        forget(place, identifiers)
    with pytest.raises(InputError, match="reason"):
        place.do("data.forget", views.DataForget(identifiers=ADA, reason=" "))


def test_only_who_may_forget_searches(place: Place) -> None:
    ingest(place, "people", people())
    ana = place.person("ana", "Contributor", "Vallum Data Reader")
    with pytest.raises(RefusedError, match="forget"):
        forget(place, who=ana)
    assert table(place, "people").height == ROWS


@pytest.mark.guarantee("G11")
def test_no_older_wrap_of_an_erased_key_opens(place: Place, places: Places) -> None:
    """Not even with every key that is left: this is what a stolen backup holds."""
    first = ingest(place, "people", people())
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        row = house.records.get(snapshot, "wrapped-key", first, WrappedDataKey)
    forget(place)
    kept = msgspec.convert(row.wrapped, WrappedKey)
    with pytest.raises(SealedError, match="erased"):
        house.keyring.rewrap(kept, first, "content")
    again = FileKeyProvider.open(places.keys)
    with pytest.raises(SealedError, match="erased"):
        again.shred_secret(first)
    assert len(again.shred_secret("another").reveal()) == 32


@pytest.mark.guarantee("G11")
def test_a_crash_before_the_secrets_are_destroyed_is_made_good(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ingest(place, "people", people())
    house = place.kernel.house

    def die(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(house.provider, "erase", die)
        with pytest.raises(KeyboardInterrupt):
            forget(place)
    assert len(house.provider.shred_secret(first).reveal()) == 32
    settle_all(house)
    with pytest.raises(SealedError):
        house.provider.shred_secret(first)
    assert first in house.erasures.read()
    assert place.verify().findings == ()


def test_keys_from_before_there_were_shred_secrets_still_open(tmp_path: Path) -> None:
    provider = FileKeyProvider.create(tmp_path / "keys")
    keyring, _ = Keyring.create(provider, "ws-x")
    secret = Secret(b"k" * 32)
    old = provider.wrap(secret, context=keyring._context("dver-1", "content"))
    renewed = keyring.rewrap(old, "dver-1", "content")
    provider.erase(["dver-1"])
    assert keyring._unwrap(old, "dver-1", "content").reveal() == secret.reveal()
    with pytest.raises(SealedError):
        keyring._unwrap(renewed, "dver-1", "content")


def test_queries_go_on_and_the_sketch_forgets_the_person(place: Place) -> None:
    ingest(place, "people", people())
    declaration = (
        '{"version": "vallum.dp/1", "unit": {"column": "email"},'
        ' "columns": {"age": {"type": "integer", "lower": 0, "upper": 120}}}'
    )
    place.do("dp.declare", wire.DpDeclare(name="people", declaration=declaration))
    place.do("dp.budget", wire.DpBudget(name="people", epsilon="2"))

    def ask(retry: str) -> wire.DpAnswer:
        query = wire.DpQuery(
            name="people", sql="SELECT COUNT(*) FROM t", epsilon="1", retry_id=retry
        )
        answer = place.do("dp.query", query).value
        assert isinstance(answer, wire.DpAnswer)
        return answer

    ask("one")
    forget(place)
    with place.kernel.house.database.snapshot() as snapshot:
        rows = place.kernel.house.records.list(snapshot, "private-data", PrivateData)
    assert all(len(row.sketch) == ROWS - 1 for row in rows)
    answer = ask("two")
    assert answer.budgets[0].spent_epsilon == "2"  # the same people's budget


def test_data_that_comes_while_it_searches_is_not_passed_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(place, "people", people())
    whole = module.forget_people

    def slow(*arguments: object, **more: object) -> object:
        monkeypatch.setattr(module, "forget_people", whole)
        ingest(place, "late", people())
        return whole(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "forget_people", slow)
    with pytest.raises(ConflictError, match="meanwhile"):
        forget(place)
    assert {one.name for one in forget(place).erased} == {"people", "late"}
    assert place.verify().findings == ()
