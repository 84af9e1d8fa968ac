"""Round 7, harmless: PyTorch, Keras, ONNX and safetensors, written by their libraries."""

import io
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample, one


def torch_files() -> Iterator[Sample]:
    import torch
    from torch import nn

    torch.manual_seed(7)
    nets: dict[str, Any] = {
        "unet": nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.ConvTranspose2d(4, 1, 2, 2),
        ),
        "gru": nn.GRU(4, 6, num_layers=2, bidirectional=True, dropout=0.1),
        "encoder": nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1),
        "attention": nn.MultiheadAttention(8, 2, add_bias_kv=True),
        "norms": nn.ModuleDict(
            {
                "ln": nn.LayerNorm(5),
                "bn": nn.BatchNorm1d(5),
                "inst": nn.InstanceNorm2d(3, affine=True),
            }
        ),
        "bag": nn.EmbeddingBag(10, 4, mode="max"),
        "bilinear": nn.Bilinear(3, 4, 2),
    }

    def saved(value: Any, **how: Any) -> bytes:
        box = io.BytesIO()
        torch.save(value, box, **how)
        return box.getvalue()

    endings = (".pt", ".pth", ".bin", ".ckpt")
    for at, (name, net) in enumerate(nets.items()):
        state = net.state_dict()
        yield one("G_torch", f"{name}_state", endings[at % 4], saved(state))
        if at % 2:
            yield one(
                "G_torch",
                f"{name}_legacy",
                ".pt",
                saved(state, _use_new_zipfile_serialization=False),
            )
        else:
            yield one(
                "G_torch",
                f"{name}_bf16",
                ".bin",
                saved(
                    OrderedDict(
                        (k, v.to(torch.bfloat16) if v.is_floating_point() else v)
                        for k, v in state.items()
                    ),
                    pickle_protocol=4,
                ),
            )
    model = nets["bilinear"]
    for name, optimizer in {
        "adamw": torch.optim.AdamW(model.parameters(), amsgrad=True),
        "sgd": torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        "lbfgs": torch.optim.LBFGS(model.parameters()),
    }.items():

        def closure(optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = model(torch.ones(2, 3), torch.ones(2, 4)).square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        plan = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        whole = {
            "epoch": 4,
            "global_step": 400,
            "state_dict": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": plan.state_dict(),
            "best": float("inf"),
            "args": {"lr": 0.1, "name": "x"},
        }
        yield one(
            "G_torch", f"checkpoint_{name}", ".ckpt" if name != "sgd" else ".pth.tar", saved(whole)
        )
    base = torch.arange(24.0).reshape(2, 3, 4)
    tensors: dict[str, Any] = {
        "views": {"a": base, "b": base[0], "c": base.transpose(0, 2), "d": base[:, ::2]},
        "kinds": {
            str(k): torch.zeros(3, dtype=k)
            for k in (
                torch.uint8,
                torch.int8,
                torch.int16,
                torch.bool,
                torch.float64,
                torch.complex64,
                torch.float8_e4m3fn,
            )
        },
        "sparse_csr": torch.eye(4).to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(torch.randn(4, 3), 0.1, 3, torch.qint8),
        "per_channel": torch.quantize_per_channel(
            torch.randn(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8
        ),
        "parameters": nn.ParameterDict(
            {"w": nn.Parameter(torch.ones(2, 2), requires_grad=False)}
        ).state_dict(),
        "rng_states": {"torch": torch.get_rng_state(), "python": (3, tuple(range(5)), None)},
        "sizes": {
            "shape": torch.Size([1, 2]),
            "dtype": torch.float16,
            "device": torch.device("cpu"),
            "layout": torch.strided,
        },
        "scalars_list": [torch.tensor(3), torch.tensor(True), torch.empty(0, 5)],
        "numpy_beside": {"w": torch.ones(2), "mean": np.zeros(3), "classes": ["a", "b"]},
    }
    for name, value in tensors.items():
        yield one("G_torch", name, ".pt", saved(value))
    modules: dict[str, Any] = {
        "conv_net": nn.Sequential(
            OrderedDict(
                c=nn.Conv1d(2, 3, 3),
                a=nn.GELU(),
                p=nn.AdaptiveAvgPool1d(1),
                f=nn.Flatten(),
                l=nn.Linear(3, 2),
            )
        ),
        "lstm_whole": nn.LSTM(3, 4, batch_first=True),
        "module_list": nn.ModuleList([nn.Linear(2, 2), nn.PReLU(), nn.Softmax(-1)]),
        "encoder_whole": nn.TransformerEncoderLayer(8, 2, 16).eval(),
    }
    for name, value in modules.items():
        yield one("G_torch_module", name, ".pt", saved(value))


def scripts() -> Iterator[Sample]:
    import torch
    from torch import nn

    torch.manual_seed(1)
    nets = {
        "traced_conv": torch.jit.trace(
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)).eval(),
            torch.ones(1, 1, 8, 8),
        ),
        "scripted_gru": torch.jit.script(nn.GRU(3, 4)),
        "frozen_norm": torch.jit.freeze(
            torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)).eval())
        ),
        "scripted_dropout": torch.jit.script(
            nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.2), nn.LogSoftmax(-1))
        ),
    }
    for name, net in nets.items():
        box = io.BytesIO()
        torch.jit.save(net, box)
        yield one("G_torchscript", name, ".pt", box.getvalue())


def keras_files() -> Iterator[Sample]:
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)

    def image() -> Any:
        start = keras.Input((8, 8, 1))
        x = layers.SeparableConv2D(4, 3, padding="same", activation="gelu")(start)
        y = layers.BatchNormalization()(layers.Conv2D(4, 1, kernel_regularizer="l2")(start))
        x = layers.SpatialDropout2D(0.1)(layers.Add()([x, y]))
        return keras.Model(start, layers.Dense(3, "softmax")(layers.GlobalMaxPooling2D()(x)))

    def text() -> Any:
        start = keras.Input((6,), dtype="int32")
        x = layers.Embedding(20, 4)(start)
        x = layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
        return keras.Model(start, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))

    def heads() -> Any:
        start = keras.Input((5, 4))
        x = layers.MultiHeadAttention(2, 2)(start, start)
        x = layers.LayerNormalization()(x)
        inner = keras.Sequential(
            [
                layers.Dense(4, activation="swish", kernel_initializer="he_normal"),
                layers.Dropout(0.2),
            ]
        )
        a = layers.TimeDistributed(inner)(x)
        return keras.Model(start, {"a": layers.Flatten()(a), "b": layers.Permute((2, 1))(x)})

    def table() -> Any:
        start = keras.Input((4,))
        x = layers.UnitNormalization()(layers.GaussianNoise(0.1)(layers.Rescaling(0.5)(start)))
        x = layers.Concatenate()(
            [
                x,
                layers.LeakyReLU()(
                    layers.Dense(3, use_bias=False, kernel_constraint=keras.constraints.MaxNorm(2))(
                        start
                    )
                ),
            ]
        )
        model = keras.Model(start, layers.Dense(2)(x))
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9)),
            loss=keras.losses.Huber(),
            metrics=["mae", keras.metrics.RootMeanSquaredError()],
        )
        return model

    def rnn() -> Any:
        return keras.Sequential(
            [
                keras.Input((4, 3)),
                layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]),
                layers.RepeatVector(2),
                layers.Conv1DTranspose(2, 2),
            ]
        )

    with tempfile.TemporaryDirectory() as folder:
        for at, make in enumerate((image, text, heads, table, rnn)):
            model = make()
            name = make.__name__
            for ending in (".keras", ".h5", ".weights.h5", ".json"):
                if ending == (".weights.h5", ".json")[at % 2]:
                    continue
                path = Path(folder) / f"{name}{ending}"
                if ending == ".json":
                    yield one("G_keras", name, ending, model.to_json().encode())
                    continue
                if ending == ".weights.h5":
                    model.save_weights(path)
                else:
                    model.save(path)
                yield one("G_keras", name, ending, path.read_bytes())


def onnx_files(rng: np.random.Generator) -> Iterator[Sample]:
    import onnx
    from onnx import helper, numpy_helper
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, pipeline, preprocessing

    x = rng.normal(size=(40, 3)).astype("f4")
    y = (x[:, 0] > 0).astype(int)
    for name, model in {
        "forest": ensemble.RandomForestClassifier(3, max_depth=3, random_state=0),
        "boosted": ensemble.GradientBoostingRegressor(n_estimators=3, random_state=0),
        "scaled": pipeline.make_pipeline(
            preprocessing.StandardScaler(), linear_model.LogisticRegression()
        ),
    }.items():
        yield one("G_onnx", name, ".onnx", to_onnx(model.fit(x, y), x[:1]).SerializeToString())

    def info(name: str, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    weights = numpy_helper.from_array(rng.normal(size=(3, 2)).astype("f4"), "w")
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], alpha=0.5),
        helper.make_node("Softmax", ["h"], ["y"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [info("x", ["batch", 3])],
        [info("y", ["batch", 2])],
        [weights],
        doc_string="a small one",
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="tests", ir_version=9
    )
    helper.set_model_props(model, {"author": "us", "licence": "MIT"})
    yield one("G_onnx", "mlp_props", ".onnx", model.SerializeToString())
    body = [
        helper.make_graph([helper.make_node(op, ["x"], ["z"])], op, [], [info("z", [2])])
        for op in ("Relu", "Neg")
    ]
    branch = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
            helper.make_node("Cast", ["s"], ["c"], to=9),
            helper.make_node("If", ["c"], ["z"], then_branch=body[0], else_branch=body[1]),
        ],
        "b",
        [info("x", [2])],
        [info("z", [2])],
    )
    yield one(
        "G_onnx",
        "branches",
        ".onnx",
        helper.make_model(
            branch, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString(),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save_model(
            model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0
        )
        yield Sample(
            "G_onnx",
            "external_beside",
            {p.name: p.read_bytes() for p in sorted(path.parent.iterdir())},
        )


def safetensors_files() -> Iterator[Sample]:
    import safetensors.numpy
    import safetensors.torch
    import torch

    kinds = {
        "f64": torch.ones(2, dtype=torch.float64),
        "bf16": torch.ones(3, dtype=torch.bfloat16),
        "i64": torch.arange(4),
        "bool": torch.tensor([True]),
        "f8": torch.zeros(2, dtype=torch.float8_e5m2),
    }
    for name, data in {
        "kinds": safetensors.torch.save(kinds, {"format": "pt"}),
        "scalar_and_empty": safetensors.numpy.save(
            {"s": np.array(1.5, "f4"), "e": np.zeros((0, 3), "f2")}
        ),
        "lora": safetensors.torch.save(
            {
                f"base_model.model.layers.{i}.q_proj.lora_{c}.weight": torch.ones(2, 4)
                for i in range(9)
                for c in "AB"
            },
            {"format": "pt", "rank": "2"},
        ),
        "model-00001-of-00001": safetensors.numpy.save({"embed.weight": np.ones((30, 8), "f2")}),
        "unicode_names": safetensors.numpy.save(
            {"größe.weight": np.ones(2, "f4")}, {"beschreibung": 'ein Modell "x"'}
        ),
        "optimizer_like": safetensors.numpy.save(
            {f"{i}/m": np.ones(i + 1, "f4") for i in range(5)}
        ),
    }.items():
        yield one("G_safetensors", name, ".safetensors", data)
