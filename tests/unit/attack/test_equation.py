from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thieves import Softmax, known, softmax

from vallum.attack import solve_equations
from vallum.base import GateError


@settings(max_examples=25)
@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_the_weights_of_a_linear_model_are_recovered(
    width: Any, classes: Any, seed: Any, logits: Any
) -> None:
    rng = np.random.default_rng(seed)
    weights, offset = rng.standard_normal((width, classes)), rng.standard_normal(classes) * 0.1
    model = Softmax(weights, offset, "logits" if logits else "probabilities")
    data = known(model, count=100, width=width)
    if len(np.unique(data.others[1])) < 2:
        return
    try:
        found = solve_equations(model, data, budget=400, seed=seed)
    except GateError as error:  # the half that is held out may be of one class
        assert error.code == "attack.constant"  # noqa: PT017 - not expected, only allowed
        return
    assert found.report.exact
    wanted = weights - weights[:, :1]
    # Records are float32, answers float64: six digits of each weight are left.
    np.testing.assert_allclose(found.stolen.weights, wanted, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(found.stolen.offset, offset - offset[0], atol=1e-3)
    assert found.report.queries <= 1.25 * width + 20


def test_saturated_probabilities_are_asked_nearer_to_the_middle() -> None:
    model = softmax()
    model.weights = model.weights * 40
    found = solve_equations(model, known(model), budget=400, seed=0)
    assert found.report.exact
    assert found.report.fidelity == 1.0


def test_what_is_not_linear_or_rounded_is_not_exact_and_still_measured() -> None:
    class Bent(Softmax):
        def predict(self, x: Any) -> Any:
            return super().predict(np.maximum(x, 0))

    model = softmax()
    for victim in (softmax(decimals=2), Bent(model.weights, model.offset)):
        report = solve_equations(victim, known(victim), budget=600, seed=0).report
        assert not report.exact
        assert 0.5 < report.fidelity <= 1.0


def test_labels_and_too_few_queries_are_errors_and_no_safety() -> None:
    model = softmax("labels")
    with pytest.raises(GateError) as refused:
        solve_equations(model, known(model), budget=400, seed=0)
    assert refused.value.code == "attack.scores"
    wide = softmax(width=60)
    with pytest.raises(GateError) as refused:
        solve_equations(wide, known(wide, width=60), budget=60, seed=0)
    assert refused.value.code == "attack.budget"
