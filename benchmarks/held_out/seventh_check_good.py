"""Load each harmless sample of round 7 with its library.

    benchmarks/held_out/seventh_check_good.py [seed]

A sample that its library does not load is printed; what has no library here (GGUF) is parsed by the
writer's counterpart only as far as its templates, which are rendered.
"""

import json
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from held_out import Sample, seventh_good
from held_out.seventh_load import load_joblib, load_npz, load_numpy, load_pandas, load_pickle


def rendered(body: str) -> None:
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}

        def parse(self, parser):  # type: ignore[no-untyped-def]
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    box = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "</think>ho"}]
    box.from_string(body).render(messages=talk, bos_token="<s>", eos_token="</s>", tools=[{"a": 1}])


def check(path: Path) -> str:
    """Load a file; return what with."""
    name = path.name
    if name.endswith((".pkl.gz", ".pkl.xz", ".pkl.bz2")):
        load_pandas(path)
    elif name.endswith((".pkl", ".pickle")):
        load_pickle(path)
    elif name.endswith(".joblib"):
        load_joblib(path)
    elif name.endswith(".npy"):
        load_numpy(path)
    elif name.endswith(".npz"):
        load_npz(path)
    elif name.endswith(".weights.h5"):
        import h5py

        with h5py.File(path) as file:
            assert len(file)
    elif name.endswith((".keras", ".h5")):
        import keras

        keras.models.load_model(path)
    elif name.endswith((".pt", ".pth", ".bin", ".ckpt", ".pth.tar")):
        import torch

        try:
            torch.jit.load(path)
        except RuntimeError:
            torch.load(path, weights_only=False)
    elif name.endswith(".onnx"):
        import onnxruntime

        onnxruntime.InferenceSession(path)
    elif name.endswith(".safetensors"):
        import safetensors.numpy
        import safetensors.torch

        safetensors.torch.load_file(path)
    elif name.endswith(".skops"):
        import skops.io

        skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    elif name.endswith(".ubj") or name in ("xgb_dart.json", "xgb_json.json"):
        import xgboost

        xgboost.Booster(model_file=path)
    elif name == "lgb_text.txt":
        import lightgbm

        lightgbm.Booster(model_file=path)
    elif name.endswith((".jinja", ".j2")):
        rendered(path.read_text())
    elif name.endswith(".json"):
        found = json.loads(path.read_text())
        chats = found.get("chat_template", []) if isinstance(found, dict) else []
        for one in [chats] if isinstance(chats, str) else [c["template"] for c in chats]:
            rendered(one)
    elif name.endswith((".yaml", "MLmodel")):
        import yaml

        yaml.safe_load(path.read_text())
    else:
        return "not loaded"
    return "loaded"


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore")
    np.random.seed(seed)  # noqa: NPY002 - as scan_held_out does
    samples: list[Sample] = list(seventh_good.samples(np.random.default_rng(seed)))
    counts: Counter[str] = Counter()
    for sample in samples:
        with tempfile.TemporaryDirectory() as name:
            for file, data in sample.files.items():
                path = Path(name) / PurePosixPath(file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            for path in sorted(p for p in Path(name).rglob("*") if p.is_file()):
                try:
                    counts[check(path)] += 1
                except Exception as error:  # noqa: BLE001 - printed and counted
                    counts["failed"] += 1
                    print(
                        f"not loaded: {sample.category}: {sample.name}: {path.name}: {type(error).__name__}: {error}"[
                            :250
                        ]
                    )
    print(len(samples), "samples;", dict(counts))


if __name__ == "__main__":
    main()
