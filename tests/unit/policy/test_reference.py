"""Generated pages and the reviewed matrix of role x action equal what the code says."""

import json
from pathlib import Path

import pytest

from vallum.policy import reference

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("docs/reference/actions.md", reference.actions_page()),
        ("docs/reference/policy.schema.json", reference.policy_schema()),
        ("tests/golden/policy/role_matrix.txt", reference.role_matrix()),
    ],
)
def test_the_file_equals_what_the_code_says(path: str, text: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == text, (
        f"review the change, then write `vallum.policy.reference` into {path}"
    )


def test_the_schema_names_what_a_policy_file_may_hold() -> None:
    schema = json.loads(reference.policy_schema())
    assert set(schema["$defs"]["Requirements"]["properties"]) == {
        "version",
        "steps",
        "results",
        "break_glass_persons",
    }
    assert schema["$defs"]["Requirement"]["additionalProperties"] is False
