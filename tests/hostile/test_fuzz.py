"""Every route with generated requests, good and bad, as each role, on a real server.

Whatever is sent: no internal error, an answer that the OpenAPI document describes, and a request id
that leads to the log. Who holds nothing changes nothing.
"""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from running import Up, running

from vallum.schema.routes import ROUTES
from vallum.server.openapi import body_type, document

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode, checks

ROLES = (
    "Owner",
    "Contributor",
    "Reader",
    "User Access Administrator",
    "AzureML Data Scientist",
    "AzureML Compute Operator",
    "Machine Learning Engineer",
    "Vallum Data Owner",
    "nothing",
)
SOON = ("Machine Learning Engineer", "nothing")  # the others: slow tests
OWN = {"key.create", "session.create"}  # of oneself, which anybody may
CHECKS = [
    checks.not_a_server_error,
    checks.response_schema_conformance,
    checks.content_type_conformance,
    checks.status_code_conformance,
]


def operations() -> list[Any]:
    text = msgspec.json.encode(document("0", {row.step: body_type(row) for row in ROUTES}))
    described = json.loads(text)
    described.pop("security")  # the credential is ours to send: a wrong one is slowed down
    schema = schemathesis.openapi.from_dict(described)
    return [one.ok() for one in schema.get_all_operations()]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


@pytest.fixture(scope="module")
def tokens(up: Up) -> dict[str, str]:
    made = {}
    for at, role in enumerate(ROLES):
        up.owner.identities.create(f"fuzz-{at}")
        if role != "nothing":
            up.owner.roles.assign(role, f"fuzz-{at}")
        made[role] = up.owner.keys.create("k", principal=f"fuzz-{at}").secret
    return made


def fuzz(
    up: Up, token: str | None, *, examples: int, every: int = 1
) -> Iterator[tuple[str, str, int]]:
    """Send requests to every route, or every n-th; yields (step, method, status) of each answer."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    seen: list[tuple[str, str, int]] = []
    for operation in operations()[::every]:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @settings(
                max_examples=examples, database=None, derandomize=True,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate],
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def send(case: Any) -> None:
                answer = case.call(base_url=up.url, headers=headers, verify=str(up.ca), timeout=60)
                assert answer.headers["x-request-id"], case.method
                case.validate_response(answer, checks=CHECKS)
                step = case.operation.definition.raw["operationId"]
                seen.append((step, case.method, answer.status_code))

            send()
    yield from seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "role",
    [role if role in SOON else pytest.param(role, marks=pytest.mark.slow) for role in ROLES],
)
def test_whatever_a_role_sends_is_answered_as_documented(
    role: str, up: Up, tokens: dict[str, str]
) -> None:
    seen = list(fuzz(up, tokens[role], examples=1))
    assert {step for step, _, _ in seen} == {row.step for row in ROUTES}
    if role == "nothing":
        done = {step for step, method, status in seen if method != "GET" and status < 300}
        assert done <= OWN


@pytest.mark.filterwarnings("ignore")
@pytest.mark.guarantee("G1")
def test_without_a_credential_nothing_generated_gets_further(up: Up) -> None:
    # Each answer is delayed, so a sample; every route once is in test_requests.
    assert {status for _, _, status in fuzz(up, None, examples=1, every=30)} <= {400, 401}


@pytest.mark.timeout(900)  # thousands of requests
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_more_requests_of_an_owner_find_no_internal_error(
    up: Up, tokens: dict[str, str]
) -> None:
    assert len(list(fuzz(up, tokens["Owner"], examples=8))) > 1000
    assert up.owner.workspace.verify().findings == ()
