"""Harmless networks of the sixth round: PyTorch, TorchScript, Keras and ONNX, by their own writers."""

import collections
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from held_out.sixth_asm import Loaded

Row = tuple[str, str, dict[str, bytes], str]


def saved(value: Any, **how: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **how)
    return out.getvalue()


def networks() -> dict[str, nn.Module]:
    conv = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    return {
        "resblock": conv, "gru": nn.GRU(4, 5, num_layers=2, bidirectional=True), "attention": nn.MultiheadAttention(8, 2),
        "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False),
        "decoder": nn.TransformerDecoderLayer(8, 2, 16), "bag": nn.EmbeddingBag(20, 6, mode="sum"), "deconv": nn.Sequential(nn.ConvTranspose1d(2, 3, 3), nn.PReLU(), nn.GroupNorm(1, 3)),
        "bilinear": nn.Bilinear(3, 4, 2), "norms": nn.ModuleDict({"l": nn.LayerNorm(5), "r": nn.RMSNorm(5), "i": nn.InstanceNorm1d(5, affine=True)}), "conv3d": nn.Conv3d(1, 2, 2, groups=1),
        "rnncell": nn.LSTMCell(3, 4), "weightnorm": nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    }  # fmt: skip


def torches() -> Iterator[Row]:
    torch.manual_seed(6)
    c = "torch"
    nets = networks()
    forms = (
        (".pt", {}),
        (".pth", {}),
        ("_pytorch_model.bin", {}),
        (".legacy.pt", {"_use_new_zipfile_serialization": False}),
        (".p4.pt", {"pickle_protocol": 4}),
    )
    for at, (name, net) in enumerate(nets.items()):
        for ending, how in (forms[at % 5], forms[(at + 2) % 5]):
            yield (
                c,
                name + ending,
                {name + ending: saved(net.state_dict(), **how)},
                "torch" if ".p4" in ending else "torchsafe",
            )
    net = nets["resblock"]
    for name, dtype in (
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
        ("fp64", torch.float64),
        ("fp8", torch.float8_e4m3fn),
    ):
        yield (
            c,
            f"{name}.pt",
            {
                f"{name}.pt": saved(
                    {
                        k: v.to(dtype) if v.is_floating_point() else v
                        for k, v in net.state_dict().items()
                    }
                )
            },
            "torchsafe",
        )
    for name, optimizer in (
        ("adamw", torch.optim.AdamW(net.parameters(), lr=1e-3, amsgrad=True)),
        ("sgd", torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)),
        ("rmsprop", torch.optim.RMSprop(net.parameters())),
        ("adagrad", torch.optim.Adagrad(net.parameters())),
    ):
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        body = {
            "epoch": 4,
            "global_step": 900,
            "model": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "rng": torch.get_rng_state(),
            "args": {"lr": 1e-3, "name": "run"},
        }
        yield c, f"{name}.ckpt", {f"{name}.ckpt": saved(body)}, "torchsafe"
    lightning = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": net.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 4},
    }
    yield c, "lightning.ckpt", {"lightning.ckpt": saved(lightning)}, "torchsafe"
    base = torch.arange(12.0).reshape(3, 4)
    rows: dict[str, Any] = {
        "views": {"a": base, "row": base[1], "t": base.T, "strided": base[::2, 1::2]}, "integers": [torch.tensor([1, 2], dtype=d) for d in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool)],
        "complex": torch.ones(2, dtype=torch.complex64), "scalar": torch.tensor(3.0), "empty": torch.empty(0, 5), "with_grad": torch.ones(2, requires_grad=True), "parameter_list": [nn.Parameter(base), nn.Parameter(base[0], requires_grad=False)],
        "csr": base.to_sparse_csr(), "coo": torch.eye(3).to_sparse(), "channels_last": torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last), "dtypes": {"dtype": torch.float16, "size": torch.Size([1, 2]), "device": torch.device("cpu")},
        "buffers": collections.OrderedDict(running_mean=torch.zeros(4), num_batches_tracked=torch.tensor(7)), "quantized": torch.quantize_per_tensor(base, 0.1, 0, torch.qint8), "channelwise": torch.quantize_per_channel(base, torch.ones(3), torch.zeros(3), 0, torch.qint8), "lora": {f"base.layers.{i}.lora_{ab}.weight": torch.randn(2, 8) for i in range(3) for ab in "AB"},
        "nested_lists": {"batches": [[base, {"mask": base > 3}], (base.long(), None)], "meta": "text"}, "dataset": (torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 2])), "defaultdict_free": {"ema": {"decay": 0.999, "shadow": net.state_dict()}},
    }  # fmt: skip
    for at, (name, value) in enumerate(rows.items()):
        file = f"{name}.{('pt', 'pth', 'bin')[at % 3]}"
        yield c, file, {file: saved(value)}, "torchsafe"
    for name in ("deconv", "encoder", "gru", "resblock"):
        yield "torch module", f"{name}_full.pt", {f"{name}_full.pt": saved(nets[name])}, "torch"


def scripts() -> Iterator[Row]:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = torch.zeros(x.size(1), 4)
            for i in range(x.size(0)):
                state = self.cell(x[i], state)
            return state if state.sum() > 0 else -state

    nets = networks()
    made = {
        "loop": torch.jit.script(Loop()), "traced": torch.jit.trace(nets["resblock"].eval(), torch.zeros(1, 3, 8, 8)),
        "deconv": torch.jit.script(nets["deconv"]), "frozen": torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()).eval())), "bag": torch.jit.script(nn.EmbeddingBag(9, 3)),
    }  # fmt: skip
    for name, module in made.items():
        out = io.BytesIO()
        torch.jit.save(
            module, out, _extra_files={"config.json": '{"classes": 2}'} if name == "traced" else {}
        )
        yield "TorchScript", f"{name}.pt", {f"{name}.pt": out.getvalue()}, "script"


def keras() -> Iterator[Row]:
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    c = "Keras"
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.SeparableConv2D(4, 3, activation="swish")(inputs)
    x = layers.Add()([layers.DepthwiseConv2D(3, padding="same")(x), x])
    x = layers.Dropout(0.2)(layers.GlobalMaxPooling2D()(layers.SpatialDropout2D(0.1)(x)))
    functional = keras.Model(
        inputs,
        [
            layers.Dense(2, "softmax", name="a")(x),
            layers.Dense(1, name="b", kernel_regularizer="l2")(x),
        ],
    )
    functional.compile(
        "adamw", {"a": "categorical_crossentropy", "b": "mse"}, metrics={"b": ["mae"]}
    )
    text = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(30, 8, mask_zero=True),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    tokens = keras.Input((5, 8))
    block = layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens))
    attention = keras.Model(
        tokens, layers.Dense(3, activation=keras.activations.gelu)(layers.Flatten()(block))
    )
    mixed = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Normalization(mean=[0.0] * 4, variance=[1.0] * 4),
            layers.Dense(
                6,
                activation=layers.LeakyReLU(),
                kernel_initializer=keras.initializers.HeNormal(seed=1),
                kernel_constraint="max_norm",
            ),
            layers.UnitNormalization(),
            layers.Dense(2),
        ]
    )
    convolved = keras.Sequential(
        [
            keras.Input((12, 2)),
            layers.Conv1D(3, 3, dilation_rate=2),
            layers.BatchNormalization(),
            layers.PReLU(),
            layers.AveragePooling1D(2),
            layers.LSTM(3, recurrent_dropout=0.1),
        ]
    )
    nested = keras.Sequential(
        [
            keras.Input((4,)),
            keras.Sequential([layers.Dense(3), layers.Rescaling(0.5)]),
            layers.Reshape((3, 1)),
            layers.TimeDistributed(layers.Dense(2)),
        ]
    )
    nets = {
        "functional": functional,
        "text": text,
        "attention": attention,
        "mixed": mixed,
        "convolved": convolved,
        "nested": nested,
    }
    with tempfile.TemporaryDirectory() as name:
        for net_name, net in nets.items():
            for ending in (
                (".keras", ".h5", ".weights.h5")
                if net_name in ("text", "mixed")
                else (".keras", ".h5" if net_name == "convolved" else ".weights.h5")
            ):
                path = Path(name) / f"{net_name}{ending}"
                if ending == ".weights.h5":
                    net.save_weights(path)
                else:
                    net.save(path)
                yield (
                    c,
                    path.name,
                    {path.name: path.read_bytes()},
                    "h5" if ending == ".weights.h5" else "keras",
                )
            if net_name in ("functional", "attention", "nested"):
                yield (
                    c,
                    f"{net_name}.json",
                    {f"{net_name}.json": net.to_json().encode()},
                    "kerasjson",
                )
        shards = Path(name) / "sharded.weights.json"
        attention.save_weights(shards, max_shard_size=0.000001)
        files = {p.name: p.read_bytes() for p in Path(name).glob("sharded*")}
        yield c, "sharded", files, "folder"


def built(
    nodes: list[Any], weights: dict[str, Any], shape: list[Any], opset: int = 17, **how: Any
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, [None] * (2 if len(shape) > 1 else 1))],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
        producer_name="exporter",
        **how,
    )
    made.metadata_props.add(key="classes", value=json.dumps(["a", "b"]))
    return bytes(made.SerializeToString())


def onnx_rows(rng: np.random.Generator) -> Iterator[Row]:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn import ensemble, linear_model, neighbors, pipeline, preprocessing

    c = "ONNX"
    f4 = np.float32
    n = helper.make_node
    conv = [
        n("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        n("HardSwish", ["c"], ["h"]),
        n("GlobalAveragePool", ["h"], ["g"]),
        n("Flatten", ["g"], ["f"]),
        n("Gemm", ["f", "v"], ["y"]),
    ]
    yield (
        c,
        "conv.onnx",
        {
            "conv.onnx": built(
                conv,
                {
                    "w": rng.normal(size=(2, 3, 3, 3)).astype(f4),
                    "b": np.zeros(2, f4),
                    "v": np.eye(2, dtype=f4),
                },
                ["batch", 3, 8, 8],
            )
        },
        "onnx",
    )
    norm = [
        n("LayerNormalization", ["x", "s"], ["l"]),
        n("MatMul", ["l", "w"], ["m"]),
        n("Softmax", ["m"], ["y"], axis=-1),
    ]
    yield (
        c,
        "norm.onnx",
        {
            "norm.onnx": built(
                norm, {"s": np.ones(4, f4), "w": rng.normal(size=(4, 4)).astype(f4)}, [1, 4]
            )
        },
        "onnx",
    )
    then = helper.make_graph(
        [n("Relu", ["x"], ["t"])], "then", [], [helper.make_tensor_value_info("t", 1, [2, 2])]
    )
    other = helper.make_graph(
        [n("Neg", ["x"], ["e"])], "else", [], [helper.make_tensor_value_info("e", 1, [2, 2])]
    )
    branch = [
        n("ReduceSum", ["x"], ["s"], keepdims=0),
        n("Greater", ["s", "z"], ["g"]),
        n("If", ["g"], ["y"], then_branch=then, else_branch=other),
    ]
    yield (
        c,
        "branch.onnx",
        {
            "branch.onnx": built(
                branch, {"z": np.float32(0)}, [2, 2], doc_string="Chooses by the sum."
            )
        },
        "onnx",
    )
    quant = [
        n("QuantizeLinear", ["x", "s", "z"], ["q"]),
        n("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    yield (
        c,
        "quantized.onnx",
        {"quantized.onnx": built(quant, {"s": np.float32(0.1), "z": np.int8(0)}, [None, 3])},
        "onnx",
    )
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [n("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [n("Twice", ["x"], ["y"], domain="local")],
        "g",
        [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info("y", 1, [2])],
    )
    own = helper.make_model(
        graph,
        functions=[function],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("local", 1)],
        ir_version=8,
    )
    yield c, "local_function.onnx", {"local_function.onnx": bytes(own.SerializeToString())}, "onnx"
    x = rng.normal(size=(30, 3)).astype(f4)
    y = (x[:, 0] > 0).astype(int)
    learners = {
        "forest": ensemble.ExtraTreesClassifier(3, random_state=0),
        "knn": neighbors.KNeighborsRegressor(2),
        "scaled": pipeline.make_pipeline(
            preprocessing.RobustScaler(),
            linear_model.SGDClassifier(loss="log_loss", random_state=0),
        ),
        "boosted": ensemble.GradientBoostingRegressor(n_estimators=3, random_state=0),
    }
    for name, learner in learners.items():
        made = skl2onnx.convert_sklearn(
            learner.fit(x, y), initial_types=[("x", FloatTensorType([None, 3]))], target_opset=17
        )
        yield c, f"{name}.onnx", {f"{name}.onnx": bytes(made.SerializeToString())}, "onnx"
    outside = onnx.load_from_string(
        built(
            [n("MatMul", ["x", "w"], ["y"])], {"w": rng.normal(size=(40, 40)).astype(f4)}, [1, 40]
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(
            outside,
            str(Path(folder) / "model.onnx"),
            save_as_external_data=True,
            location="model.onnx.data",
            size_threshold=100,
        )
        yield (
            c,
            "external_beside",
            {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())},
            "onnx:model.onnx",
        )


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    for rows in (torches(), scripts(), keras(), onnx_rows(rng)):
        for category, name, files, how in rows:
            yield Loaded(category, name, files, how)
