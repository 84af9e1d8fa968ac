"""Hostile pickles, assembled opcode by opcode."""

import io
import pickle  # noqa: TID251 - it only writes here
from collections.abc import Callable, Iterator

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng, call, made, named, push, stacked, text
from held_out.bad_abuse import abused
from held_out.bad_opcodes import opcodes
from held_out.gadgets import CODE, GADGETS, SHELL

ENDINGS = (".pkl", ".pickle", ".bin", ".pt", ".pth", ".ckpt", ".joblib", ".dat", ".model", ".data",
           ".sav", ".npy", ".h5", ".json", ".txt", ".safetensors", "")  # fmt: skip


def gadgets(rng: Rng, count: int) -> Iterator[Sample]:
    """One gadget a file, between values as a model has them, at the start, middle or end."""
    for at in rng.permutation(len(GADGETS))[:count]:
        module, name, args = GADGETS[at]
        function = (named if rng.random() < 0.4 else stacked)(module, name)
        body = call(function, *args)
        place = rng.integers(4)
        if place == 0:
            body = b"}(" + text("weights") + push([1, 2, 3]) + text("extra") + body + b"u"
        elif place == 1:
            body = body + b"0" + push({"weights": [1, 2, 3]})
        elif place == 2:
            body = push([0]) + b"0" + body
        ending = ENDINGS[rng.integers(len(ENDINGS))]
        yield one("pickle: gadget", f"g-{at}-{module}.{name}", ending, made(body))


def libraries(rng: Rng) -> Iterator[tuple[str, bytes]]:
    """What dill, cloudpickle, pickle and NumPy themselves write of harmful things."""
    import cloudpickle
    import dill

    def shell(x: int) -> int:
        import os

        return os.system(SHELL) + x

    class Reduced:
        def __reduce__(self) -> tuple[object, ...]:
            return eval, (CODE,)

    namespace: dict[str, object] = {}
    for protocol in range(6):
        yield f"reduce-{protocol}", pickle.dumps({"w": [1.0], "x": Reduced()}, protocol=protocol)
    for protocol in (2, 3, 4, 5):
        yield f"dill-function-{protocol}", dill.dumps(shell, protocol=protocol, recurse=True)
        yield f"cloudpickle-function-{protocol}", cloudpickle.dumps(shell, protocol=protocol)
    yield "dill-lambda", dill.dumps(lambda x: __import__("os").system(SHELL) + x)
    yield "cloudpickle-class", cloudpickle.dumps(type("Net", (), {"predict": shell, **namespace}))
    yield "cloudpickle-instance", cloudpickle.dumps(type("Net", (), {"predict": shell})())
    holder = np.empty(2, dtype=object)
    holder[:] = [Reduced(), 1]
    for name, save in (("npy", np.save), ("npz", np.savez), ("npzc", np.savez_compressed)):
        file = io.BytesIO()
        save(file, holder)  # type: ignore[operator]
        yield f"numpy-objects-{name}", file.getvalue()
    yield "numpy-array-in-pickle", pickle.dumps({"w": np.ones(3), "x": holder}, protocol=4)
    yield "numpy-array-oob", pickle.dumps([np.ones((4, 4)), Reduced()], protocol=5)


PARTS: dict[str, Callable[[Rng], Iterator[tuple[str, bytes]]]] = {
    "pickle: opcodes": opcodes,
    "pickle: allowed names abused": abused,
    "pickle: libraries": libraries,
}


def samples(rng: Rng) -> Iterator[Sample]:
    yield from gadgets(rng, 150)
    for category, part in PARTS.items():
        for name, data in part(rng):
            ending = ENDINGS[rng.integers(len(ENDINGS))]
            if "npy" in name or "npz" in name:
                ending = ".npz" if "npz" in name else ".npy"
            yield one(category, name, ending, data)
