"""Private queries through the kernel: nothing is answered that was not charged before."""

import contextlib
import io
import json
import os
import threading
from decimal import Decimal

import pytest
from conftest_workspace import Place

from vallum.base import ConflictError, InputError, LimitExceededError, RefusedError, VallumError
from vallum.schema import Caller, PrivacyBudget, PrivacyCharge, api
from vallum.schema import privacy as wire
from vallum.workspace.context import Context
from vallum.workspace.intent import settle_all

DECLARATION: dict[str, object] = {
    "version": "vallum.dp/1",
    "unit": {"column": "email", "max_rows": 1},
    "columns": {
        "value": {"type": "integer", "lower": 0, "upper": 200},
        "ward": {"type": "category", "values": ["a", "b"]},
    },
}
COUNT = "SELECT COUNT(*) FROM t"


def table(start: int = 0, rows: int = 200) -> bytes:
    lines = [f"ada{at}@example.org,{'ab'[at % 2]},{at % 100}" for at in range(start, start + rows)]
    return "\n".join(["email,ward,value", *lines, ""]).encode()


def ingest(place: Place, name: str = "people", content: bytes | None = None) -> str:
    made = place.do(
        "data.create",
        api.DataCreate(name=name, format="csv"),
        content=io.BytesIO(table() if content is None else content),
    ).value
    assert isinstance(made, api.VersionShown)
    return made.version.id


def declare(place: Place, name: str = "people") -> wire.DpShown:
    made = place.do(
        "dp.declare", wire.DpDeclare(name=name, declaration=json.dumps(DECLARATION))
    ).value
    assert isinstance(made, wire.DpShown)
    return made


def budget(place: Place, name: str = "people", **more: object) -> wire.DpShown:
    arguments = wire.DpBudget(name=name, **{"epsilon": "1", **more})  # type: ignore[arg-type]
    made = place.do("dp.budget", arguments).value
    assert isinstance(made, wire.DpShown)
    return made


def ask(
    place: Place, who: Caller | None = None, *, name: str = "people", dry_run: bool = False,
    **more: object,
) -> wire.DpAnswer:  # fmt: skip
    arguments = wire.DpQuery(name=name, **{"sql": COUNT, "epsilon": "0.4", **more})  # type: ignore[arg-type]
    made = place.do("dp.query", arguments, who=who, dry_run=dry_run).value
    assert isinstance(made, wire.DpAnswer)
    return made


def held(place: Place) -> dict[str, PrivacyBudget]:
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        context = Context(house.records, snapshot, house.workspace_id)
        return {one.id: one for one in context.all("budget", PrivacyBudget)}


def charges(place: Place) -> list[PrivacyCharge]:
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        return Context(house.records, snapshot, house.workspace_id).all(
            "privacy-charge", PrivacyCharge
        )


@pytest.fixture
def ready(place: Place) -> Place:
    ingest(place)
    declare(place)
    budget(place)
    return place


def test_an_analyst_asks_without_reading_and_pays(ready: Place) -> None:
    ana = ready.person("ana", "Vallum Data Analyst")
    with pytest.raises(RefusedError):
        ready.do("data.download", api.Named(name="people"), who=ana)
    told = ask(ready, ana, sql="SELECT ward, COUNT(*), AVG(value) FROM t GROUP BY ward")
    assert [group.key for group in told.groups] == [("a",), ("b",)]
    (spent,) = held(ready).values()
    assert spent.spent_epsilon == "0.4"
    (charge,) = charges(ready)
    assert charge.answer
    assert ready.verify().findings == ()


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_release_is_charged_and_becomes_an_asset(ready: Place, *, synthetic: bool) -> None:
    if synthetic:
        pytest.importorskip("mbi", reason="synthetic data need the extra `synthetic`")
    wanted = wire.DpRelease(
        name="people", into="open", marginals=("ward",), epsilon="0.6", synthetic=synthetic
    )
    told = ready.do("dp.release", wanted, dry_run=True).value
    assert isinstance(told, wire.DpReleased)
    assert told.version is None
    assert not charges(ready)
    made = ready.do("dp.release", wanted).value
    assert isinstance(made, wire.DpReleased)
    assert made.version == 1
    assert next(iter(held(ready).values())).spent_epsilon == "0.6"
    chunks = ready.do("data.download", api.Named(name="open")).chunks
    assert chunks is not None
    text = b"".join(chunks).decode()
    assert b"@" not in text.encode()
    if synthetic:
        assert set(text.split()) == {'"ward"', '"a"', '"b"'}
        assert 150 < len(text.split()) < 250
    else:
        assert text.splitlines()[0] == '"ward","count","low","high"'
        assert len(text.splitlines()) == 3
    shown = ready.do("data.show", api.Named(name="open")).value
    assert isinstance(shown, api.VersionShown)
    assert shown.version.protected
    (evidence,) = shown.evidence
    assert evidence.gate == "private-release"
    assert evidence.measures["epsilon"] == "0.6"
    with pytest.raises(LimitExceededError):
        ready.do("dp.release", wanted)
    assert ready.verify().findings == ()


def test_a_release_is_read_for_what_its_source_and_its_asset_may(ready: Place) -> None:
    for name, tags in (("billed", "billing"), ("studied", "research"), ("people", "billing")):
        ready.do(
            "data.create",
            api.DataCreate(name=name, format="csv", tags={"purpose": tags}),
            content=io.BytesIO(table()),
        )
    declare(ready)

    def release(into: str) -> None:
        wanted = wire.DpRelease(name="people", into=into, marginals=("ward",), epsilon="0.1")
        ready.do("dp.release", wanted, purpose="billing")

    release("billed")
    shown = ready.do("data.show", api.Named(name="billed")).value
    assert isinstance(shown, api.VersionShown)
    assert shown.version.tags == {"purpose": "billing"}
    with pytest.raises(InputError, match="none of the purposes"):
        release("studied")
    assert len(charges(ready)) == 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"marginals": ()}, "marginals"),
        ({"marginals": ("nothing",)}, "nothing"),
        ({"marginals": ("value",)}, "tells who"),
        ({"marginals": ("value",), "delta": "0.000001", "synthetic": True}, "declared"),
        ({"into": "people"}, "own"),
        ({"rows": 5}, "synthetic"),
        ({"rows": -1, "synthetic": True}, "at most"),
        ({"epsilon": "0"}, "more than 0"),
    ],
)
def test_a_release_that_cannot_be_costs_nothing(
    ready: Place, wrong: dict[str, object], text: str
) -> None:
    given = {"name": "people", "into": "open", "marginals": ("ward",), "epsilon": "0.1", **wrong}
    with pytest.raises(VallumError, match=text):
        ready.do("dp.release", wire.DpRelease(**given))  # type: ignore[arg-type]
    assert not charges(ready)


def test_a_reader_of_records_may_not_ask(ready: Place) -> None:
    ben = ready.person("ben", "Reader")
    with pytest.raises(RefusedError):
        ask(ready, ben)
    with pytest.raises(RefusedError):
        ready.do("dp.budget", wire.DpBudget(name="people", epsilon="9"), who=ben)
    assert next(iter(held(ready).values())).spent_epsilon == "0"


@pytest.mark.guarantee("G8")
def test_what_would_overspend_is_refused_and_charges_nothing(ready: Place) -> None:
    ask(ready)
    ask(ready)
    with pytest.raises(LimitExceededError) as caught:
        ask(ready)
    assert caught.value.message == (
        "the privacy budget of this data has epsilon 0.2 left, and this costs 0.4"
    )
    assert caught.value.code == "dp.budget"
    assert ask(ready, epsilon="0.2").groups
    assert next(iter(held(ready).values())).spent_epsilon == "1"
    assert ("decision", "dp.query", True, "dp.budget") in ready.entries()


def test_a_dry_run_tells_the_price_and_charges_nothing(ready: Place) -> None:
    told = ask(ready, dry_run=True)
    assert told.groups == ()
    assert told.budgets[0].spent_epsilon == "0.4"  # as it would be
    assert next(iter(held(ready).values())).spent_epsilon == "0"
    assert charges(ready) == []


def test_a_retry_gets_the_stored_answer_and_pays_once(ready: Place) -> None:
    first = ask(ready, retry_id="q-1")
    again = ask(ready, retry_id="q-1")
    assert again.replayed
    assert again.groups == first.groups
    with pytest.raises(ConflictError, match="names another question"):
        ask(ready, retry_id="q-1", sql="SELECT SUM(value) FROM t")
    assert next(iter(held(ready).values())).spent_epsilon == "0.4"
    ana = ready.person("ana", "Vallum Data Analyst")
    assert not ask(ready, ana, retry_id="q-1").replayed  # another caller's name for it


@pytest.mark.guarantee("G8")
def test_a_lost_answer_stays_charged(ready: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(ready.kernel.house.residents, "ask", broken)
    with pytest.raises(KeyboardInterrupt):
        ask(ready, retry_id="q-1")
    monkeypatch.undo()
    assert next(iter(held(ready).values())).spent_epsilon == "0.4"
    with pytest.raises(ConflictError, match="its answer was lost; it stays charged"):
        ask(ready, retry_id="q-1")


def test_a_restart_settles_the_intent_and_keeps_the_charge(
    ready: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> object:
        raise SystemExit

    monkeypatch.setattr(ready.kernel.house.residents, "ask", killed)
    with contextlib.suppress(SystemExit):
        ask(ready)
    house = ready.kernel.house
    assert settle_all(house) == 1  # the intent: its query is not run again
    assert next(iter(held(ready).values())).spent_epsilon == "0.4"
    assert [one.answer for one in charges(ready)] == [""]
    assert ready.verify().findings == ()


@pytest.mark.guarantee("G8")
def test_concurrent_queries_never_overspend(ready: Place) -> None:
    done: list[wire.DpAnswer] = []

    def work() -> None:
        for _ in range(10):
            with contextlib.suppress(VallumError):
                done.append(ask(ready, epsilon="0.03"))

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 33
    assert next(iter(held(ready).values())).spent_epsilon == "0.99"


@pytest.mark.slow
def test_a_table_that_dies_or_makes_room_is_opened_anew(
    ready: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    residents = ready.kernel.house.residents
    monkeypatch.setattr("vallum.workspace.residents.MAX_RESIDENTS", 1)
    ingest(ready, "other", table(5000, 100))
    declare(ready, "other")
    budget(ready, "other", epsilon="5")
    for name in ("people", "other", "people"):
        assert ask(ready, name=name, epsilon="0.1").groups
        assert len(residents._held) == 1
    (held,) = residents._held.values()
    os.kill(held.resident._process.pid, 9)
    assert ask(ready, epsilon="0.1").groups
    monkeypatch.setattr("vallum.workspace.residents.IDLE_S", -1.0)
    residents.expire()
    assert not residents._held
    assert ask(ready, epsilon="0.1").groups
    ready.do("data.delete", api.Named(name="people"))
    assert not residents._held


@pytest.mark.guarantee("G8")
def test_versions_copies_and_overlapping_uploads_charge_the_same_people(ready: Place) -> None:
    # A new version of the asset, a protected copy, and an upload that shares some persons.
    ingest(ready)
    declare(ready)
    ready.do(
        "data.protect",
        api.DataProtect(name="people", k=2, max_suppression="0.5", pseudonymise=("email",)),
    )
    declare(ready, "people-protected")
    ingest(ready, "other", table(190, 100))
    declare(ready, "other")
    budget(ready, "other", epsilon="5")
    ingest(ready, "strangers", table(5000, 100))
    declare(ready, "strangers")
    budget(ready, "strangers", epsilon="5")
    ask(ready)
    ask(ready, name="people:1")
    for name in ("people", "people:1", "people-protected", "other"):
        with pytest.raises(LimitExceededError, match=r"epsilon 0\.2 left"):
            ask(ready, name=name)
    ask(ready, name="strangers", epsilon="3")


def test_a_budget_of_one_analyst_or_group_bounds_them_beside_the_data(ready: Place) -> None:
    ana = ready.person("ana", "Vallum Data Analyst")
    ben = ready.person("ben", "Vallum Data Analyst")
    ready.do("group.create", api.IdentityCreate(name="team"))
    ready.do("group.add", api.GroupChange(group="team", member="ben"))
    budget(ready, epsilon="0.1", holder="ana")
    budget(ready, epsilon="0.2", holder="team")
    with pytest.raises(LimitExceededError, match=r"of you or your group has epsilon 0\.1 left"):
        ask(ready, ana, epsilon="0.2")
    ben = ready.sign_in("ben")
    ask(ready, ben, epsilon="0.2")
    with pytest.raises(LimitExceededError, match="of you or your group has epsilon 0 left"):
        ask(ready, ben, epsilon="0.1")
    ask(ready, ana, epsilon="0.1")
    assert {one.spent_epsilon for one in held(ready).values()} == {"0.1", "0.2", "0.3"}


def test_a_budget_of_concentrated_loss_takes_both_kinds_of_noise(place: Place) -> None:
    ingest(place)
    declare(place)
    budget(place, epsilon="0", rho="0.1")
    ask(place, epsilon="0.2")
    ask(place, epsilon="0", rho="0.05")
    (spent,) = held(place).values()
    assert Decimal(spent.spent_rho) == Decimal("0.07")
    assert spent.spent_epsilon == "0"


def test_a_budget_of_epsilon_does_not_pay_for_gaussian_noise(ready: Place) -> None:
    with pytest.raises(InputError, match="this query spends rho"):
        ask(ready, epsilon="0", rho="0.01")


def test_only_a_reasoned_renewal_begins_a_new_period(ready: Place) -> None:
    ask(ready)
    with pytest.raises(InputError, match="say why"):
        budget(ready, renew=True)
    assert budget(ready, epsilon="2").budgets[0].spent_epsilon == "0.4"
    renewed = budget(ready, renew=True, reason="a new year of data").budgets[0]
    assert (renewed.period, renewed.spent_epsilon) == (2, "0")


def test_without_a_declaration_or_a_budget_nothing_is_answered(place: Place) -> None:
    ingest(place)
    with pytest.raises(VallumError) as caught:
        ask(place)
    assert caught.value.code == "dp.undeclared"
    declare(place)
    with pytest.raises(LimitExceededError, match="has no privacy budget"):
        ask(place)


def test_an_unsafe_query_is_refused_before_it_is_charged(ready: Place) -> None:
    for sql in ("SELECT value FROM t", "SELECT SUM(ward) FROM t", "SELECT COUNT(email) FROM t"):
        with pytest.raises(InputError):
            ask(ready, sql=sql)
    assert next(iter(held(ready).values())).spent_epsilon == "0"


def test_the_unit_of_people_who_were_asked_about_does_not_change(ready: Place) -> None:
    ask(ready)
    rows = json.dumps({**DECLARATION, "unit": {"rows": True}})
    ingest(ready)
    with pytest.raises(ConflictError, match="was counted by `email`"):
        ready.do("dp.declare", wire.DpDeclare(name="people", declaration=rows))
