"""A loaded model: what it answers, and what its process need not hold."""

import sys

import numpy as np
from running import WIDTH, small_model

from vallum.guard.session import Session


def test_a_loaded_model_answers_without_holding_on_to_its_bytes() -> None:
    data = small_model()
    before = sys.getrefcount(data)
    session = Session(data)
    assert sys.getrefcount(data) == before
    ((name, scores),) = session.run(np.array([[1.0] * WIDTH, [-1.0] * WIDTH], dtype=np.float32))
    assert (name, session.width) == ("probabilities", WIDTH)
    assert scores.argmax(axis=1).tolist() == [1, 0]
