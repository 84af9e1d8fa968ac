"""Registering, reading the record, reading content, signing, promoting, deploying, deleting: apart.

Each person has one right and the right to read records; each does what it is for, and no more.
"""

import io

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import RefusedError
from vallum.schema import Record, api, release, rules

READ = "models/versions/read"
CONTENT = "models/versions/content/read"
# Step, arguments, and the actions that it takes beside `READ`.
STEPS: dict[str, tuple[Record, frozenset[str]]] = {
    "model.register": (
        api.ModelRegister(name="risk", file_name="model.onnx"),
        frozenset({"models/versions/write"}),
    ),
    "model.show": (api.Named(name="risk:1"), frozenset()),
    "model.card": (api.Named(name="risk:1"), frozenset()),
    "model.download": (api.Named(name="risk:1"), frozenset({CONTENT})),
    "model.sign": (
        api.ModelSign(name="risk", version=1),
        frozenset({"models/versions/sign/action", CONTENT}),
    ),
    "model.alias": (
        release.ModelAlias(name="risk", alias="champion", version=1),
        frozenset({"models/versions/promote/action"}),
    ),
    "endpoint.deploy": (
        api.EndpointDeploy(endpoint="e", deployment="blue", model="risk", version=1),
        frozenset({"models/versions/promote/action", "onlineEndpoints/deployments/write"}),
    ),
    "model.delete": (api.Named(name="risk:1"), frozenset({"models/versions/delete"})),
}
RIGHTS = sorted({frozenset(), *(taken for _, taken in STEPS.values())}, key=sorted)


@pytest.mark.parametrize("held", RIGHTS, ids=lambda held: "+".join(sorted(held)) or "read")
def test_each_right_does_what_it_is_for(place: Place, held: frozenset[str]) -> None:
    loose = rules.PolicySet(document='{"version": "vallum.policy/1"}', reason="a test")
    place.do("policy.set", loose)
    card = b"# Risk\n"
    first = api.ModelRegister(name="risk", file_name="model.onnx", card_bytes=len(card))
    place.do("model.register", first, content=io.BytesIO(card + small_model()))
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    control = tuple(sorted({READ, "models/read", "onlineEndpoints/read", *held} - {CONTENT}))
    content = tuple(held & {CONTENT})
    made = api.RoleCreate(name="one-right", actions=control, data_actions=content)
    place.do("role.create", made)
    someone = place.person("someone", "one-right")
    for step, (arguments, needed) in STEPS.items():  # deleting comes last
        body = io.BytesIO(small_model()) if step == "model.register" else None
        if needed <= held:
            reply = place.do(step, arguments, who=someone, content=body)
            assert reply.chunks is None or b"".join(reply.chunks)
        else:
            with pytest.raises(RefusedError) as refused:
                place.do(step, arguments, who=someone, content=body)
            told = " ".join(text for _, _, text in refused.value.missing)
            assert all(f"`{action}`" in told for action in needed - held)
