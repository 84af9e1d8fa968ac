"""Hostile files of the sixth round after the manner of other scanners' tests; none is a copy.

Objects with a `__reduce__` of their own, saved by the libraries themselves, as an attacker does it.
"""

import builtins
import codecs
import collections
import gzip
import importlib
import io
import json
import os
import pickle  # noqa: TID251 - written, never read
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import torch

from held_out.sixth_asm import CANARY, CMD, EXPR, Bytes, Loaded, evaluated, item, r, system, whole
from held_out.sixth_containers import archive, packed, tarred
from held_out.sixth_zip import Member, zipped

Row = tuple[str, str, bytes, str]


class Made:
    """What a loader turns into the call."""

    def __init__(
        self, function: Callable[..., Any], *args: Any, rest: tuple[Any, ...] = ()
    ) -> None:
        self.told = (function, args, *rest)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.told


def shell() -> Made:
    return Made(os.system, CMD)


def text() -> Made:
    return Made(builtins.eval, EXPR)


def program() -> Made:
    return Made(subprocess.Popen, ["touch", CANARY])


def chained() -> Made:
    return Made(builtins.eval, Made(codecs.decode, codecs.encode(EXPR, "rot13"), "rot13"))


def found() -> Made:
    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            return (
                builtins.map,
                (Made(getattr, Made(importlib.import_module, "os"), "system"), [CMD]),  # noqa: TID251
            )

    return Made(builtins.list, Call())


def through(write: Callable[[str], object], ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / f"a{ending}")
        write(path)
        return Path(path).read_bytes()


def stored(write: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def saved(rng: np.random.Generator) -> Iterator[Row]:
    c = "U picklescan style"
    kinds = {"shell": shell, "text": text, "program": program, "chained": chained, "found": found}
    for at, (name, kind) in enumerate(kinds.items()):
        for p in (at % 3, 3 + at % 3):
            yield c, f"{name}_v{p}.pkl", pickle.dumps(kind(), p), "pickle"
    weights = collections.OrderedDict({"fc.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)})
    yield (
        c,
        "state_dict.pt",
        stored(lambda o: torch.save({**weights, "extra": shell()}, o)),
        "torch",
    )
    yield (
        c,
        "state_dict_old.pth",
        stored(lambda o: torch.save([weights, text()], o, _use_new_zipfile_serialization=False)),
        "torch",
    )
    yield (
        c,
        "checkpoint.ckpt",
        stored(
            lambda o: torch.save(
                {"epoch": 3, "state_dict": weights, "callbacks": {"a": program()}}, o
            )
        ),
        "torch",
    )
    yield (
        c,
        "estimator.joblib",
        stored(lambda o: joblib.dump({"model": chained(), "x": rng.normal(size=9)}, o)),
        "joblib",
    )
    yield (
        c,
        "estimator.joblib.gz",
        through(lambda p: joblib.dump([shell()], p, compress=("gzip", 3)), ".gz"),
        "joblib",
    )
    yield (
        c,
        "estimator.joblib.xz",
        through(lambda p: joblib.dump([found()], p, compress=("xz", 3)), ".xz"),
        "joblib",
    )
    array = np.empty(3, dtype=object)
    array[:] = [1, "a", None]
    array[1] = text()
    yield c, "objects.npy", stored(lambda o: np.save(o, array, allow_pickle=True)), "numpy"
    yield (
        c,
        "objects.npz",
        stored(lambda o: np.savez_compressed(o, a=np.zeros(3), b=array)),
        "numpy",
    )
    for ending in ("gz", "bz2", "zip", "xz"):
        frame = pd.Series([1, shell(), 3], name="x", dtype=object)
        data = through(lambda p, frame=frame: frame.to_pickle(p), f".pkl.{ending}")  # type: ignore[misc]
        yield c, f"frame.pkl.{ending}", data, "pandas"
    yield c, "list_of_calls.pkl", pickle.dumps([1, [2, {"k": (3, program())}]], 4), "pickle"
    yield c, "key_of_dict.pkl", pickle.dumps({Made(os.system, CMD): 1}, 2), "pickle"
    yield c, "in_set.pkl", pickle.dumps(frozenset([shell()]), 5), "pickle"
    yield (
        c,
        "items.pkl",
        pickle.dumps(Made(collections.OrderedDict, rest=(None, None, iter([("a", text())]))), 4),
        "pickle",
    )
    yield (
        c,
        "state.pkl",
        pickle.dumps(Made(collections.OrderedDict, rest=({"a": text()},)), 3),
        "pickle",
    )
    yield c, "cloudpickle_lambda.pkl", called(), "pickle"
    yield (
        c,
        "pytorch_wrong_magic.bin",
        pickle.dumps(0x1950A86A20F9469CFC6D, 2) + pickle.dumps(shell(), 2),
        "streams",
    )
    yield (
        c,
        "zip_flag.zip",
        zipped([Member(b"data.pkl", pickle.dumps(shell(), 4), central={"flags": 0x40})]),
        "construction",
    )
    yield c, "zip_inside.zip", packed({"a/data.bin": pickle.dumps(text(), 0), "b.txt": b"x"}), "zip"
    yield c, "gz_named.dat", gzip.compress(pickle.dumps(program(), 1), mtime=0), "joblib"


def called() -> bytes:
    """Return a pickle by value of a function, and the call of it."""
    source = f"def run(x):\n    {EXPR}\n    return x\n"
    space: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    exec(compile(source, "a", "exec"), space)
    return bytes(cloudpickle.dumps(Made(space["run"], 1)))


def injected(rng: np.random.Generator) -> Iterator[Row]:
    """Put a call into a model's pickle: before it, behind it, in its place, twice."""
    from sklearn.linear_model import Ridge

    c = "U fickling style"
    x = rng.normal(size=(12, 3))
    for p in (2, 4):
        model = pickle.dumps(Ridge().fit(x, x[:, 0]), p)
        head, body = (model[:2], model[2:]) if p == 2 else (model[:2], model[11:])
        low = item(r("__builtin__.eval" if p == 2 else "builtins.eval", EXPR), p)
        yield c, f"before_v{p}.pkl", head + low + b"0" + body, "pickle"
        yield c, f"behind_v{p}.pkl", head + body[:-1] + low + b"0.", "pickle"
        yield c, f"instead_v{p}.pkl", head + body[:-1] + b"0" + low + b".", "pickle"
        yield c, f"kept_in_memo_v{p}.pkl", head + low + b"r\xff\xff\0\x000" + body, "pickle"
    yield c, "proto_twice.pkl", b"\x80\x04\x80\x02" + item(system(), 4) + b"\x80\x03.", "pickle"
    yield c, "proto_late.pkl", item(system(), 0) + b"\x80\x02.", "pickle"
    long = item(evaluated(), 4)
    yield (
        c,
        "frame_straddles.pkl",
        b"\x80\x04\x95" + (len(long) - 9).to_bytes(8, "little") + long + b".",
        "construction",
    )
    yield (
        c,
        "frames_tiny.pkl",
        b"\x80\x04"
        + b"".join(
            b"\x95" + len(part).to_bytes(8, "little") + part
            for part in (b"\x8c\x05posix", b"\x8c\x06system", b"\x93", item((CMD,), 4), b"R", b".")
        ),
        "pickle",
    )
    yield (
        c,
        "unused.pkl",
        whole(r("logging.getLogger", "a"), system(), {"weights": [1.0]}),
        "pickle",
    )
    yield c, "mark_popped.pkl", whole(Bytes(b"(" + item(system(), 4) + b"1"), {"a": 1}), "pickle"


def audited() -> Iterator[Row]:
    """Files as a scenario has them: a real model's name, a payload beside data."""
    c = "U modelaudit style"
    chat = "{% for m in messages %}{{ m.content }}{% endfor %}"
    for name, bad in {
        "environment": "{{ cycler.__init__.__globals__.os.environ.get('HOME') }}{{ cycler.__init__.__globals__.os.mkdir('" + CANARY + "') }}",
        "request": "{{ joiner.__init__.__globals__.__builtins__.open('" + CANARY + "', 'w').write('x') }}",
        "loop": "{% for c in [].__class__.__base__.__subclasses__() %}{% if c.__name__ == 'catch_warnings' %}{{ c()._module.__builtins__['eval'](\"" + EXPR + '") }}{% endif %}{% endfor %}',
        "comment": "{# a template #}{% set os = lipsum.__globals__['os'] %}{% set _ = os.system('" + CMD + "') %}" + chat,
        "import": "{{ dict.__base__.__subclasses__ and namespace.__init__.__globals__['__builtins__']['__import__']('os').system('" + CMD + "') }}",
    }.items():  # fmt: skip
        yield (
            c,
            f"{name}.json",
            json.dumps({"model_type": "llama", "chat_template": chat + bad}).encode(),
            "template",
        )
        yield c, f"{name}.j2", bad.encode(), "jinja"
    yaml = "model: llama\nchat_template: \"{{ lipsum.__globals__['os'].system('" + CMD + "') }}\"\n"
    yield c, "model_config.yaml", yaml.encode(), "construction"
    yield (
        c,
        "nested_collections.pkl",
        whole({"layers": [{"w": [0.0] * 20, "hook": [[[{"f": system()}]]]}]}),
        "pickle",
    )
    yield (
        c,
        "ordered_dict.pkl",
        whole(
            Bytes(
                item(r("collections.OrderedDict"), 4)
                + item("fc.weight", 4)
                + item(evaluated(), 4)
                + b"s"
            )
        ),
        "pickle",
    )
    yield (
        c,
        "supply_chain.pkl",
        whole({"name": "bert", "setup": r("subprocess.check_output", ["touch", CANARY])}, p=3),
        "pickle",
    )
    yield (
        c,
        "base64.pkl",
        whole(
            r(
                "builtins.exec",
                r("base64.b64decode", b"b3BlbignJXMnICUgJ3NpeHRoLWNhbmFyeScsICd3Jyk="),
            ),
            p=4,
        ),
        "pickle",
    )
    yield c, "posix_alias.pkl", whole(r("posix.mkdir", CANARY), p=0), "pickle"
    yield (
        c,
        "traversal.zip",
        packed({"model/weights.txt": b"1", f"model/../../{CANARY}": b"x"}),
        "construction",
    )
    yield c, "link_to_passwd.tar", tarred({"readme": b"x", f"..//..//{CANARY}": b"x"}), "extract"
    yield (
        c,
        "pytorch_model.pt",
        zipped(archive(whole({"weight": 1, "z": evaluated()}, p=2))),
        "torch",
    )
    yield c, "executable.bin", b"#!/bin/sh\ntouch " + CANARY.encode() + b"\n", "construction"
    yield (
        c,
        "model_of_bytes.pkl",
        whole(
            r("builtins.getattr", r("builtins.__import__", "os"), "system"),
            r(r("builtins.getattr", r("builtins.__import__", "os"), "system"), CMD),
            p=2,
        ),
        "pickle",
    )


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    for rows in (saved(rng), injected(rng), audited()):
        for category, name, data, how in rows:
            yield Loaded(category, name, {name: data}, how)
