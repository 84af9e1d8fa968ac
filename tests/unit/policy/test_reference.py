"""The reviewed matrix of role x action equals what the code says."""

import json
from pathlib import Path

from vallum.policy import reference

ROOT = Path(__file__).parents[3]


def test_the_reviewed_matrix_equals_what_the_code_says() -> None:
    golden = ROOT / "tests/golden/policy/role_matrix.txt"
    assert golden.read_text(encoding="utf-8") == reference.role_matrix(), (
        f"review the change, then write `vallum.policy.reference.role_matrix()` into {golden}"
    )


def test_the_schema_names_what_a_policy_file_may_hold() -> None:
    schema = json.loads(reference.policy_schema())
    assert set(schema["$defs"]["Requirements"]["properties"]) == {
        "version",
        "steps",
        "results",
        "break_glass_persons",
        "images",
        "capture",
        "scoring_code",
        "egress",
    }
    assert schema["$defs"]["Requirement"]["additionalProperties"] is False
