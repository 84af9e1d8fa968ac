"""Columns that are called like what the room itself calls its own: nothing may depend on a name."""

import polars as pl
import pytest

from vallum.privacy import (
    check_anonymity,
    discover_table,
    mask_table,
    measure_risk,
    parse_recipe,
    suggest_quasi_identifiers,
)
from vallum.privacy.anonymize import Requirements, anonymize
from vallum.privacy.anonymize.report import report_page
from vallum.privacy.anonymize.utility import measure_utility
from vallum.privacy.dp import PrivateTable, make_plan, parse_declaration, parse_sql, spend
from vallum.privacy.gate import forget_people, inspect_table

NAMES = [
    "count", "n", "len", "literal", "old", "new", "class", "size", "value", "date", "days", "index",
    "row", "low", "key", "cell", "at", "name", "code", "loss", "level", "total", "a,b", 'a"b',
]  # fmt: skip


def frame(names: list[str]) -> pl.DataFrame:
    age, zip_, ill, who = names
    return pl.DataFrame(
        {
            age: [str(20 + at % 4) for at in range(60)],
            zip_: [f"{10115 + at % 3}" for at in range(60)],
            ill: ["flu" if at % 2 else "cold" for at in range(60)],
            who: [f"p{at}@example.org" for at in range(60)],
        }
    )


@pytest.mark.parametrize("first", range(len(NAMES)))
def test_no_column_name_is_taken_for_one_of_ours(first: int) -> None:
    names = [NAMES[(first + at) % len(NAMES)] for at in range(4)]
    plain = ["plain age", "plain zip", "plain ill", "plain who"]
    table, same = frame(names), frame(plain)
    quasi, sensitive, who = names[:2], names[2], names[3]

    found = discover_table(table)
    assert [one.name for one in found.columns] == names
    assert found.columns[3].type == "personal.email"
    assert measure_risk(table, quasi) == measure_risk(same, plain[:2])
    suggest_quasi_identifiers(table)
    wanted = Requirements(k=3, l=("distinct:2",), t=("0.5",))
    for method in ("global", "local", "mondrian"):
        made = anonymize(table.drop(who), quasi, wanted, sensitive=[sensitive], method=method)  # type: ignore[arg-type]
        twin = anonymize(
            same.drop(plain[3]),
            plain[:2],
            wanted,
            sensitive=[plain[2]],
            method=method,  # type: ignore[arg-type]
        )
        assert made.table.rows() == twin.table.rows()
        assert check_anonymity(made.table, quasi, sensitive=[sensitive]).k >= 3
        risks = (measure_risk(table, quasi), measure_risk(made.table, quasi))
        utility = measure_utility(table.drop(who), made, quasi, [sensitive])
        assert "<h2>Risk" in report_page(table.drop(who), tuple(quasi), made, risks, utility)
    for operation in ("pseudonym", "generalise", "spans", "redact"):
        recipe = parse_recipe(
            {"version": "vallum.mask/1", "columns": [{"column": names[0], "operation": operation}]}
        )
        assert mask_table(table, recipe, key=b"0" * 32).height == 60


@pytest.mark.parametrize("first", range(len(NAMES) - 3))
def test_a_query_reads_the_column_that_it_names(first: int) -> None:
    names = [one for one in NAMES if one][first : first + 3]
    if len(names) < 3:
        pytest.skip("no three names are left")
    age, ill, who = names
    table = frame([age, "zip", ill, who])
    declared = parse_declaration(
        {
            "version": "vallum.dp/1",
            "unit": {"column": who},
            "columns": {
                age: {"type": "integer", "lower": 0, "upper": 100},
                ill: {"type": "category", "values": ["flu", "cold"]},
            },
        }
    )

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    group, mean = quoted(ill), quoted(age)
    sql = f"SELECT {group}, COUNT(*) AS c, AVG({mean}) AS a FROM t GROUP BY {group}"  # noqa: S608
    answer = PrivateTable.open(table, declared).answer(
        make_plan(parse_sql(sql, person=who), declared, spend(epsilon="900"))
    )
    assert [round(one.figures[0].value or 0) for one in answer.groups] == [30, 30]
    assert [round(one.figures[1].value or 0) for one in answer.groups] == [22, 21]


@pytest.mark.parametrize("name", ["count", "n", "len", "literal"])
def test_gates_take_any_name_and_an_empty_table_holds_nobody(name: str) -> None:
    table = frame([name, "zip", "ill", "who"]).write_csv().encode()
    assert inspect_table(table, kind="csv", people_key="00" * 32).rows == 60
    assert forget_people(table, kind="csv", identifiers=["who=p7@example.org"]).removed == 1
    assert forget_people(b"count,who\n", kind="csv", identifiers=["who=p7"]).removed == 0
