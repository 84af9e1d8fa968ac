"""The generated pages say what the program is: `make docs` writes them."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import generate_reference as made  # noqa: E402 - tools is no package


@pytest.mark.parametrize("path", sorted(made.PAGES))
def test_the_page_is_what_the_program_says(path: str) -> None:
    assert (ROOT / path).read_text() == made.PAGES[path](), f"{path} is old: run `make docs`"


def test_every_environment_variable_of_the_source_is_described() -> None:
    texts = "".join(path.read_text() for path in made.SOURCE.rglob("*.py"))
    assert set(re.findall(r'"(VALLUM_[A-Z_]+)"', texts)) == set(made.ENVIRONMENT)


def test_every_exit_code_is_described() -> None:
    used = {one.kind.exit_code for one in made.raised()}
    assert {0, 130} | used == set(made.EXIT_CODES)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("score.rate", "HTTP 429 Too Many Requests, exit 2."),
        ("score.quota", "HTTP 429 Too Many Requests, exit 2."),
        ("code.run", "HTTP 500 Internal Server Error, exit 1."),
        ("identity.unauthenticated", "HTTP 401 Unauthorized, exit 3."),
    ],
)
def test_a_code_has_the_status_that_callers_see(code: str, said: str) -> None:
    assert f"### {code}\n\n{said}\n" in made.errors_page()


def test_codes_are_dotted_and_lower_case() -> None:
    for one in made.raised():
        assert re.fullmatch(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)*", one.code), one


def test_messages_are_lower_case_without_a_full_stop() -> None:
    wrong = [
        one.message
        for one in made.raised()
        if re.match(r"[A-Z][a-z]+ ", one.message) or one.message.endswith(".")
    ]
    assert wrong == []
