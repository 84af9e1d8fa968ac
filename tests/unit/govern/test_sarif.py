import json
from typing import Any

from vallum.govern import sarif
from vallum.schema import Finding

FILE = Finding(
    id="pickle.global", severity="critical", message="calls `os.system`", offset=4,
    atlas="AML.T0011.000",
)  # fmt: skip
MEMBER = Finding(id="zip.name", severity="medium", message="odd", member="a/data.pkl", offset=3)


def results(*findings: Any) -> Any:
    (run,) = sarif(findings, version="0.1.0")["runs"]
    return run


def test_a_finding_keeps_its_rule_place_and_technique() -> None:
    run = results(("models/a b.pkl", FILE))
    (result,) = run["results"]
    assert result["ruleId"] == "pickle.global"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]] == {"id": "pickle.global"}
    assert result["level"] == "error"
    assert result["message"] == {"text": "calls `os.system`"}
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "models/a%20b.pkl"}
    assert place["region"] == {"byteOffset": 4, "byteLength": 0}
    assert result["properties"]["tags"] == ["AML.T0011.000"]


def test_an_offset_inside_a_member_is_not_one_of_the_file() -> None:
    (result,) = results(("m.zip", MEMBER))["results"]
    (location,) = result["locations"]
    assert "region" not in location["physicalLocation"]
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "a/data.pkl"
    assert result["properties"]["memberOffset"] == 3


def test_rules_are_listed_once() -> None:
    run = results(("a", FILE), ("b", MEMBER), ("c", FILE))
    assert [one["id"] for one in run["tool"]["driver"]["rules"]] == ["pickle.global", "zip.name"]
    assert [one["ruleIndex"] for one in run["results"]] == [0, 1, 0]


def test_levels_are_those_of_sarif_and_an_unknown_severity_is_an_error() -> None:
    given = ("critical", "high", "medium", "low", "info", "unheard-of")
    run = results(*(("a", Finding(id="x", severity=one, message="m")) for one in given))
    assert [one["level"] for one in run["results"]] == [
        "error", "error", "warning", "note", "note", "error",
    ]  # fmt: skip


def test_no_findings_are_an_empty_list_and_not_a_missing_one() -> None:
    log = json.loads(json.dumps(sarif((), version="0.1.0")))
    assert log["version"] == "2.1.0"
    assert log["runs"][0]["results"] == []
