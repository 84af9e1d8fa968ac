"""Estimators that misbehave, pickled by value: what they do, they do where they are opened."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from sklearn.linear_model import LogisticRegression


class Spy:
    """Tells what it can reach, in the only way that it has: its error."""

    n_features_in_ = 2

    def get_params(self) -> dict[str, Any]:
        return {}

    def set_params(self, **_: Any) -> None:
        pass

    def predict(self, x: Any) -> Any:
        return x[:, 0]

    def __deepcopy__(self, memo: Any) -> Any:
        found = []
        for name, reach in (
            ("passwd", lambda: Path("/etc/passwd").read_text()),
            ("net", lambda: socket.create_connection(("127.0.0.1", 22), 1)),
            ("home", lambda: [*Path("/root").iterdir(), *Path("/home").iterdir()]),
            ("write", lambda: Path(os.__file__).write_text("")),
            ("env", lambda: os.environ["VALLUM_TOKEN"]),
            ("ptrace", lambda: Path("/proc/1/mem").read_bytes()),
        ):
            try:
                reach()
                found.append(f"{name} reached")
            except Exception as error:  # noqa: BLE001 - whatever kept it
                found.append(f"{name} {type(error).__name__}")
        raise RuntimeError(", ".join(found))


class Loop(Spy):
    """Never gives an answer."""

    def __deepcopy__(self, memo: Any) -> Any:
        while True:
            time.sleep(0.01)


class Bomb(Spy):
    """Forks until nobody lets it."""

    def __deepcopy__(self, memo: Any) -> Any:
        while True:
            os.fork()


class Glutton(Spy):
    """Takes all memory."""

    def __deepcopy__(self, memo: Any) -> Any:
        held = []
        while True:
            held.append(bytearray(1 << 26))


def dice(_: Any) -> Any:
    """Answer at random."""

    def predict_proba(x: Any) -> Any:
        p = np.random.random(len(x))  # noqa: NPY002 - what such models do
        return np.stack([p, 1 - p], axis=1)

    return predict_proba


def void(model: Any) -> Any:
    """Answer what is no number to some rows."""
    plain = model.predict_proba

    def predict_proba(x: Any) -> Any:
        p = plain(x)
        p[::7] = np.nan
        return p

    return predict_proba


def liar(model: Any) -> Any:
    """Answer otherwise than what the model is converted to."""
    plain = model.predict_proba
    return lambda x: plain(x)[:, ::-1]


def spoilt(how: str, x: Any, y: Any) -> bytes:
    """Return a pickled model whose answers are not those of its kind."""
    model = LogisticRegression(max_iter=1000).fit(x, y)
    model.predict_proba = {"dice": dice, "void": void, "liar": liar}[how](
        LogisticRegression(max_iter=1000).fit(x, y)
    )
    return pickled(model)


def pickled(model: Any) -> bytes:
    """Return `model` with the code of its class."""
    import sys

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(model))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
