import ast
import re
from pathlib import Path
from typing import Any

import pytest

from vallum.base import NotFoundError
from vallum.govern import THREATS, threat
from vallum.workspace.gates.table import GATES

WORKSPACE = Path(__file__).parents[3] / "src/vallum/workspace"


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)
def test_the_threat_of_every_gate_is_in_the_table_and_names_the_gate(gate: Any) -> None:
    row = threat(gate.threat)
    assert gate.name in row.measured_by


def test_the_table_names_no_gate_that_does_not_exist() -> None:
    known = {gate.name for gate in GATES}
    for row in THREATS.values():
        assert set(row.measured_by) <= known, row.id


def test_the_threat_of_every_step_is_in_the_table() -> None:
    named = {
        word.value.value
        for path in (WORKSPACE / "steps").glob("*.py")
        for word in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(word, ast.keyword)
        and word.arg == "threat"
        and isinstance(word.value, ast.Constant)
    }
    assert named, "the steps name threats"
    assert named - {""} <= set(THREATS)


def test_rows_are_sorted_and_techniques_have_the_form_of_atlas() -> None:
    assert list(THREATS) == sorted(THREATS)
    for row in THREATS.values():
        assert all(re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", one) for one in row.atlas), row.id
        assert row.prevented_by or row.detected_by or row.measured_by


def test_an_unknown_threat_is_not_found() -> None:
    with pytest.raises(NotFoundError) as refused:
        threat("boredom")
    assert refused.value.code == "threat.not-found"
