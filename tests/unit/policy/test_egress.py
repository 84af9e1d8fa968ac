"""The rules of the policy file on where scoring code connects to."""

from typing import Any

import pytest

from vallum.base import InputError
from vallum.policy import STRICT, Requirements, compare_requirements, parse_requirements


def parsed(*rules: dict[str, Any]) -> Requirements:
    return parse_requirements({"version": "vallum.policy/1", "egress": list(rules)})


def rule(host: str, port: object = 443, **more: object) -> dict[str, Any]:
    return {"endpoint": "risk", "host": host, "port": port, **more}


def test_a_rule_is_kept_in_one_form() -> None:
    (one,) = parsed(rule("Features.Example.COM", networks=["10.0.0.7"])).egress
    assert (one.host, one.networks) == ("features.example.com", ("10.0.0.7/32",))
    assert parsed().egress == STRICT.egress == ()


@pytest.mark.parametrize(
    ("rules", "part"),
    [
        ([rule("*.example.com")], "no host"),
        ([rule("127.1")], "no host"),
        ([rule("[::1]")], "no host"),
        ([rule("::ffff:10.0.0.1")], "no host"),
        ([rule("0.0.0.0")], "no host has it"),  # noqa: S104 - it is refused
        ([rule("10.0.0.1", networks=["10.0.0.0/8"])], "belong to a name"),
        ([rule("a.example", networks=["10.0.0.1/8"])], "no network"),
        ([rule("a.example", port=0)], ">= 1"),
        ([rule("a.example", port=65536)], "<= 65535"),
        ([rule("a.example", port="443")], "int"),
        ([rule("a.example", path="/")], "path"),
        ([{"endpoint": "*", "host": "a.example", "port": 1}], "endpoint '*'"),
        ([{"host": "a.example", "port": 1}], "endpoint"),
        ([rule("a.example"), rule("A.example", networks=["10.0.0.0/8"])], "twice"),
        ([rule(f"a{at}.example") for at in range(65)], "at most 64"),
    ],
)
def test_a_rule_that_could_mean_something_else_is_refused(
    rules: list[dict[str, Any]], part: str
) -> None:
    with pytest.raises(InputError) as caught:
        parsed(*rules)
    assert part in caught.value.message


def test_a_way_out_that_came_is_easier_and_one_that_went_harder() -> None:
    old = parsed(rule("a.example"), rule("b.example"))
    new = parsed(rule("a.example"), rule("b.example", networks=["10.0.0.0/8"]))
    assert [(one.step, one.effect, one.text) for one in compare_requirements(old, new)] == [
        ("endpoint.deploy", "harder", "code at `risk` may not connect to b.example:443"),
        ("endpoint.deploy", "easier",
         "code at `risk` may connect to b.example:443 in 10.0.0.0/8"),
    ]  # fmt: skip
