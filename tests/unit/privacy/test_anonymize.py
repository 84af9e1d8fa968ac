"""Every method keeps what it promises, by a count that shares no code with it."""

import itertools
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import GateError, InputError
from vallum.privacy import check_anonymity, measure_risk, suggest_quasi_identifiers
from vallum.privacy.anonymize import (
    Hierarchy,
    Requirements,
    anonymize,
    automatic_hierarchy,
    measure_utility,
    read_hierarchy,
    report_page,
    report_record,
)

ADULT = Path(__file__).resolve().parents[4] / "shared" / "data" / "anonymity"
QUASI = [
    "sex", "age", "race", "marital-status", "education", "native-country", "workclass",
    "salary-class",
]  # fmt: skip
needs_adult = pytest.mark.skipif(
    not ADULT.is_dir(), reason="Adult with ARX's hierarchies is absent"
)


def plain(rows: list[tuple], quasi: int) -> tuple[int, int, float, float]:
    """k, distinct l, entropy l and t by equal distance, in plain lines."""
    assert all(len(row) == quasi + 1 for row in rows)
    classes = defaultdict(list)
    for row in rows:
        classes[row[:quasi]].append(row[quasi])
    whole = Counter(row[quasi] for row in rows)
    smallest, fewest, entropy, far = len(rows), len(rows), math.inf, 0.0
    for values in classes.values():
        counts = Counter(values)
        smallest = min(smallest, len(values))
        fewest = min(fewest, len(counts))
        shares = [count / len(values) for count in counts.values()]
        entropy = min(entropy, math.exp(-sum(share * math.log(share) for share in shares)))
        far = max(far, sum(
            abs(counts[value] / len(values) - count / len(rows)) for value, count in whole.items()
        ) / 2)  # fmt: skip
    return smallest, fewest, entropy, far


def people(records: int, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], records)
    ill = np.where(rng.random(records) < 0.2, "hiv", rng.choice(["flu", "cold", "none"], records))
    return pl.DataFrame(
        {
            "age": rng.integers(18, 90, records),
            "sex": sex,
            "zip": [f"{one:05d}" for one in rng.integers(10_000, 10_060, records)],
            "ill": np.where((sex == "f") & (rng.random(records) < 0.3), "flu", ill),
        }
    ).with_columns(pl.when(pl.col("age") == 33).then(None).otherwise(pl.col("sex")).alias("sex"))


@pytest.mark.parametrize("method", ["global", "local", "mondrian", "auto"])
@pytest.mark.parametrize(
    ("l", "t"),
    [((), ()), (("distinct:3",), ()), (("entropy:2",), ()), (("recursive:2:2",), ()),
     ((), ("0.4",)), ((), ("0.3:ordered",)), (("distinct:2",), ("0.45",))],
)  # fmt: skip
@given(records=st.integers(40, 400), k=st.integers(1, 9), seed=st.integers(0, 10**6))
@settings(max_examples=8)
def test_every_method_keeps_its_promise(
    *,
    method: str,
    l: tuple[str, ...],  # noqa: E741 - the model's name
    t: tuple[str, ...],
    records: int,
    k: int,
    seed: int,
) -> None:
    frame = people(records, seed)
    wanted = Requirements(k=k, l=l, t=t, max_suppression=0.1)
    try:
        made = anonymize(frame, ["age", "sex", "zip"], wanted, sensitive=["ill"], method=method)
    except GateError as error:
        # One class of all records meets k and t, and auto falls back to it.
        if "independent" in error.message or not (l or method in {"global", "local"}):
            raise
        return
    rows = made.table.select("age", "sex", "zip", "ill").rows()
    smallest, fewest, entropy, far = plain(rows, 3)
    assert smallest >= k
    if "distinct:3" in l:
        assert fewest >= 3
    if "entropy:2" in l:
        assert entropy >= 2 - 1e-6
    if "0.4" in t:
        assert far <= 0.4 + 1e-6
    check = check_anonymity(made.table, ["age", "sex", "zip"], ["ill"])
    assert (check.k, check.l) == (smallest, fewest)
    assert check.t == pytest.approx(far)
    assert check.diversity[0].entropy == pytest.approx(entropy)
    # Nothing but the quasi-identifiers changed, and every record is there once or suppressed.
    assert made.table["ill"].to_list() == frame["ill"].gather(made.kept).to_list()
    assert len(set(made.kept.tolist())) == len(made.kept) == records - made.suppressed
    assert made.suppressed <= 0.1 * records
    for name in ("age", "zip"):
        assert_labels_cover(made.hierarchies[name], frame[name].gather(made.kept), made.table[name])


def assert_labels_cover(hierarchy: Hierarchy, before: pl.Series, after: pl.Series) -> None:
    above = {row[0]: set(row) for row in hierarchy.rows()}
    for value, label in zip(before.cast(pl.String), after.cast(pl.String), strict=True):
        assert label in above[value]


@given(records=st.integers(30, 60), k=st.integers(2, 6), seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_the_global_search_finds_what_trying_every_node_finds(
    records: int, k: int, seed: int
) -> None:
    frame = people(records, seed).drop_nulls()
    names = ["age", "sex", "zip"]
    trees = {name: automatic_hierarchy(frame[name]) for name in names}
    limit = int(0.1 * frame.height)
    best = math.inf
    for node in itertools.product(*(range(trees[name].levels) for name in names)):
        rows, losses = [], []
        for record in frame.select(names).rows():
            labels, loss = [], 0.0
            for name, value, level in zip(names, record, node, strict=True):
                tree = trees[name]
                label = tree.codes[level][tree.leaves.index(str(value))]
                below = [
                    i for i, c in enumerate(tree.codes[level]) if c == label and tree.leaves[i]
                ]
                loss += (len(below) - 1) / max(1, len([one for one in tree.leaves if one]) - 1)
                labels.append(int(label))
            rows.append(tuple(labels))
            losses.append(loss / 3)
        sizes = Counter(rows)
        suppressed = sum(sizes[row] < k for row in rows)
        if suppressed <= limit and suppressed < len(rows):
            total = sum(
                1.0 if sizes[row] < k else one for row, one in zip(rows, losses, strict=True)
            )
            best = min(best, total / len(rows))
    wanted = Requirements(k=k, max_suppression=0.1)
    if best == math.inf:
        with pytest.raises(GateError):
            anonymize(frame, names, wanted, hierarchies=trees, method="global")
        return
    made = anonymize(frame, names, wanted, hierarchies=trees, method="global")
    assert made.loss == pytest.approx(best)
    assert made.optimal
    assert anonymize(frame, names, wanted, hierarchies=trees, method="auto").loss <= best + 1e-9


@needs_adult
@pytest.mark.parametrize(
    ("method", "requirements", "most"),
    [
        ("global", Requirements(k=5), 0.20445),
        ("local", Requirements(k=5, max_suppression=0.0), 0.0329),
        ("local", Requirements(k=5, l=("distinct:3",)), 0.0367),
        ("local", Requirements(k=5, l=("entropy:3",)), 0.0627),
        ("mondrian", Requirements(k=5), 0.07),
    ],
)
def test_adult_loses_no_more_than_published(
    method: str, requirements: Requirements, most: float
) -> None:
    from vallum.formats import read_table

    frame = read_table(ADULT / "adult.csv", kind="csv")
    trees = {
        name: read_hierarchy((ADULT / f"adult_hierarchy_{name}.csv").read_bytes(), name=name)
        for name in QUASI
    }
    made = anonymize(
        frame, QUASI, requirements, sensitive=["occupation"], hierarchies=trees, method=method
    )
    assert made.loss <= most
    smallest, fewest, entropy, _ = plain(made.table.select([*QUASI, "occupation"]).rows(), 8)
    assert smallest >= 5
    assert fewest >= (3 if "distinct:3" in requirements.l else 1)
    assert entropy >= (3 - 1e-6 if "entropy:3" in requirements.l else 1)


def test_hierarchical_distance_is_that_of_the_paper() -> None:
    # Li, Li, Venkatasubramanian 2007, section 5.2: moving mass under a near ancestor costs less.
    tree = read_hierarchy(b"gastritis;stomach;*\nulcer;stomach;*\nflu;lung;*\nbronchitis;lung;*\n")
    near = pl.DataFrame(
        {"q": ["a", "a", "b", "b"], "s": ["gastritis", "flu", "ulcer", "bronchitis"]}
    )
    far = pl.DataFrame(
        {"q": ["a", "a", "b", "b"], "s": ["gastritis", "ulcer", "flu", "bronchitis"]}
    )
    found = [
        check_anonymity(frame, ["q"], ["s"], {"s": tree.rows()}).diversity[0].t_hierarchical
        for frame in (near, far)
    ]
    assert found == pytest.approx([0.25, 0.5])
    made = anonymize(
        pl.concat([near] * 5), ["q"], Requirements(k=5, t=("0.3:hierarchical",)),
        sensitive=["s"], hierarchies={"s": tree},
    )  # fmt: skip
    assert made.loss == 0.0
    assert made.check.diversity[0].t_hierarchical == pytest.approx(0.25)


def test_ordered_distance_is_that_of_the_paper() -> None:
    # The same paper's example: {3k, 4k, 5k} against {3k, …, 11k} is 0.375, {6k, 8k, 11k} 0.167.
    salary = [3, 4, 5, 6, 7, 8, 9, 10, 11]
    low = pl.DataFrame({"q": ["a"] * 3 + ["b"] * 6, "s": [3, 4, 5, 6, 7, 8, 9, 10, 11]})
    mixed = pl.DataFrame({"q": ["a" if s in (6, 8, 11) else "b" for s in salary], "s": salary})
    assert check_anonymity(low, ["q"], ["s"]).diversity[0].t_ordered == pytest.approx(0.375)
    assert check_anonymity(mixed, ["q"], ["s"]).diversity[0].t_ordered == pytest.approx(1 / 6)


def test_order_and_extremes_are_not_told() -> None:
    frame = pl.DataFrame({"age": [*range(20, 60)] * 5 + [117], "note": list(range(201))})
    made = anonymize(frame, ["age"], Requirements(k=5, max_suppression=0.0))
    labels = made.table["age"].cast(pl.String)
    assert not labels.str.contains("117").any()
    assert made.table["note"].to_list() != sorted(made.table["note"].to_list())
    kept = anonymize(frame, ["age"], Requirements(k=5, max_suppression=0.0), keep_order=True)
    assert kept.table["note"].to_list() == frame["note"].to_list()


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (b"", "hierarchy.empty"),
        (b"a;x;*\nb;*\n", "hierarchy.ragged"),
        (b"a;x;*\na;y;*\n", "hierarchy.twice"),
        (b"a;x;1;*\nb;x;2;*\n", "hierarchy.nested"),
        (b"\xff;x\n", "hierarchy.text"),
    ],
)
def test_a_hierarchy_that_is_none_is_refused(lines: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_hierarchy(lines, name="c")
    assert caught.value.code == code


def test_a_hierarchy_that_misses_a_value_is_named_without_the_value() -> None:
    frame = pl.DataFrame({"c": ["a", "b", "secret"] * 5})
    with pytest.raises(InputError, match="lacks 1 value") as caught:
        anonymize(frame, ["c"], Requirements(k=2), hierarchies={"c": read_hierarchy(b"a;*\nb;*\n")})
    assert "secret" not in str(caught.value)


def test_hierarchies_are_edited_as_files() -> None:
    made = automatic_hierarchy(pl.Series("age", list(range(100))))
    again = read_hierarchy(made.to_csv())
    assert again.rows() == [row for row in made.rows() if row[0]] + [
        row for row in again.rows() if not row[0]
    ]
    without_top = read_hierarchy(b"a,x\nb,y\n")
    assert without_top.labels[-1] == ("*",)


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (pl.DataFrame({"q": [None] * 10}), "all null"),
        (pl.DataFrame({"q": ["x"] * 10}), "constant"),
        (pl.DataFrame({"q": [float("nan"), 1.0] * 5}), "NaN"),
        (pl.DataFrame({"q": ["y" * 1_000_000, *["x"] * 9]}), "one giant cell"),
        (pl.DataFrame({"q": [float("inf"), -float("inf"), 1.5] * 4}), "infinite"),
        (pl.DataFrame({"q": [10**18 + at for at in range(12)]}), "large integers"),
    ],
)
def test_odd_columns_have_a_defined_result(frame: pl.DataFrame, what: str) -> None:
    made = anonymize(frame, ["q"], Requirements(k=3, max_suppression=0.0))
    assert check_anonymity(made.table, ["q"]).k >= 3, what


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"k": 0}, "privacy.k"), ({"k": -1}, "privacy.k"), ({"max_suppression": 1.5}, "privacy.k"),
        ({"max_suppression": float("nan")}, "privacy.k"), ({"l": ("distinct",)}, "privacy.l"),
        ({"l": ("entropy:nan",)}, "privacy.l"), ({"l": ("recursive:0:2",)}, "privacy.l"),
        ({"t": ("2",)}, "privacy.t"), ({"t": ("0.2:odd",)}, "privacy.t"),
        ({"t": ("0.2:hierarchical",)}, "privacy.t"),
        ({"l": ("x=distinct:2",)}, "privacy.sensitive"),
        ({"k": 100}, "gate.anonymity"),
    ],
)  # fmt: skip
def test_requirements_out_of_range_are_refused(change: dict[str, object], code: str) -> None:
    with pytest.raises((InputError, GateError)) as caught:
        anonymize(people(50, 1), ["age"], Requirements(**change), sensitive=["ill"])  # type: ignore[arg-type]
    assert caught.value.code == code


@pytest.mark.parametrize("quasi", [[], ["nothing"], ["age", "age"]])
def test_columns_that_do_not_fit_are_refused(quasi: list[str]) -> None:
    with pytest.raises(InputError):
        anonymize(people(50, 1), quasi, Requirements())
    with pytest.raises(InputError):
        anonymize(people(50, 1).head(0), ["age"], Requirements())


def test_many_columns_are_cut_from_the_top() -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({f"c{at}": rng.integers(0, 1000, 300) for at in range(40)})
    made = anonymize(frame, frame.columns, Requirements(k=5), seconds=5.0)
    assert made.method == "mondrian"
    assert check_anonymity(made.table, frame.columns).k >= 5


def test_risk_is_that_of_the_books() -> None:
    frame = pl.DataFrame({"q": ["a"] * 4 + ["b"] * 2 + ["c"]})
    risk = measure_risk(frame, ["q"])
    assert (risk.classes, risk.smallest_class) == (3, 1)
    assert risk.prosecutor_mean == pytest.approx(3 / 7)
    assert risk.at_risk == 1.0
    assert risk.journalist_max == 1.0
    sampled = measure_risk(frame, ["q"], population=70)
    # For a class seen once the expected reciprocal has a closed form (Franconi, Polettini 2004).
    assert sampled.journalist_max == pytest.approx(0.1 / 0.9 * math.log(10), rel=1e-3)
    assert sampled.marketer < risk.marketer
    with pytest.raises(InputError):
        measure_risk(frame, ["q"], population=3)


def test_population_uniqueness_is_near_the_truth() -> None:
    rng = np.random.default_rng(5)
    population = pl.DataFrame(
        {"a": rng.zipf(1.3, 60_000).clip(max=9000), "b": rng.integers(0, 4, 60_000)}
    )
    alone = population.filter(pl.len().over("a", "b") == 1).height / population.height
    for fraction in (0.05, 0.4):
        sample = population.sample(int(60_000 * fraction), seed=1)
        risk = measure_risk(sample, ["a", "b"], population=60_000)
        assert risk.population_uniques < risk.sample_uniques
        assert risk.population_uniques == pytest.approx(alone, rel=0.6)


def test_columns_that_tell_people_apart_are_suggested() -> None:
    frame = people(400, 2).with_columns(pl.Series("id", range(400)), pl.Series("same", ["x"] * 400))
    roles = {one.column: one.role for one in suggest_quasi_identifiers(frame, sensitive=["ill"])}
    assert roles["id"] == "identifier"
    assert roles["same"] == roles["ill"] == "other"
    assert roles["age"] == roles["zip"] == "quasi-identifier"
    wide = pl.DataFrame({f"c{at}": [at % 2, at % 3, at % 5, 1] for at in range(10_000)})
    assert len(suggest_quasi_identifiers(wide)) == 10_000
    alone = suggest_quasi_identifiers(pl.DataFrame({"same": [1, 1]}))
    assert [one.role for one in alone] == ["other"]


def test_the_report_tells_what_changed_and_escapes() -> None:
    frame = people(300, 4).rename({"zip": "<zip>"})
    made = anonymize(frame, ["age", "<zip>"], Requirements(k=5), sensitive=["ill"])
    risks = (measure_risk(frame, ["age", "<zip>"]), measure_risk(made.table, ["age", "<zip>"]))
    utility = measure_utility(frame, made, ["age", "<zip>"], ["ill"])
    assert utility.granularity == pytest.approx(1 - made.loss)
    assert 0.0 <= utility.entropy <= 1.0
    page = report_page(frame, ("age", "<zip>"), made, risks, utility)
    assert "<zip>" not in page
    assert "<svg" in page
    record = report_record(made, *risks, utility)
    assert record["certificate"]["k"] >= 5  # type: ignore[index]
    everything = anonymize(frame, ["age"], Requirements(k=300), method="mondrian")
    assert measure_utility(frame, everything, ["age"]).entropy == pytest.approx(0.0, abs=1e-9)
