"""Harmless networks and their surroundings: torch, Keras, ONNX, GGUF, Hugging Face, MLflow."""

import io
import json
import os
import struct
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng
from held_out.bad_containers import tarred, zipped
from held_out.good_tables import written

CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
          " + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
          "{{ '<|im_start|>assistant\n' }}{% endif %}")  # fmt: skip
LLAMA = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
         "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
         "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
         "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
         "{{ raise_exception('roles must alternate') }}{% endif %}"
         "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
         "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + eos_token }}"
         "{% endif %}{% endfor %}")  # fmt: skip
TOOLS = ("{%- macro render(tools) %}{%- for tool in tools %}{{- tool | tojson(indent=2) }}{%- endfor %}"
         "{%- endmacro %}{%- set ns = namespace(found=false) %}{%- for m in messages %}"
         "{%- if m.tool_calls is defined and m.tool_calls is not none %}{%- set ns.found = true %}"
         "{%- for call in m.tool_calls %}{{- call.function.name ~ '(' ~ call.function.arguments | tojson ~ ')' }}"
         "{%- endfor %}{%- elif m.content is string %}{{- m.content.split('</think>')[-1].lstrip('\\n') }}"
         "{%- endif %}{%- endfor %}{%- if ns.found %}{{ render(tools) }}{%- endif %}"
         "{{ strftime_now('%d %b %Y') }}{% for k, v in tools[0].items() %}{{ k }}{% endfor %}"
         "{% generation %}x{% endgeneration %}")  # fmt: skip


def layers() -> Iterator[tuple[str, Any]]:
    from torch import nn

    yield "mlp", nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))
    yield "cnn", nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(),
                               nn.LazyLinear(3) if False else nn.Linear(4, 3))  # fmt: skip
    yield "cnn1d", nn.Sequential(nn.Conv1d(1, 4, 3), nn.GELU(), nn.AdaptiveAvgPool1d(1))
    yield "lstm", nn.LSTM(4, 8, 2, bidirectional=True)
    yield "gru", nn.GRU(4, 8)
    yield "transformer", nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    yield "transformer-full", nn.Transformer(8, 2, 1, 1, 16)
    yield "attention", nn.MultiheadAttention(8, 2)
    yield "embedding", nn.ModuleDict({"e": nn.Embedding(9, 4), "n": nn.LayerNorm(4)})
    yield "list", nn.ModuleList([nn.Linear(2, 2), nn.Identity(), nn.SiLU(), nn.Softmax(-1)])
    yield "parameters", nn.ParameterList([nn.Parameter(nn.Linear(2, 2).weight)])
    yield (
        "norms",
        nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.RMSNorm(4)),
    )
    yield (
        "transposed",
        nn.Sequential(nn.ConvTranspose2d(4, 2, 3), nn.Upsample(scale_factor=2), nn.Tanh()),
    )
    yield "activations", nn.Sequential(nn.LeakyReLU(), nn.ELU(), nn.PReLU(), nn.Hardswish(), nn.Mish(),
                                       nn.Sigmoid(), nn.Softplus())  # fmt: skip
    yield "bag", nn.EmbeddingBag(9, 4, mode="sum")
    yield "bilinear", nn.Bilinear(2, 3, 4)
    yield "losses", nn.ModuleList([nn.CrossEntropyLoss(), nn.MSELoss(), nn.BCEWithLogitsLoss()])
    yield "pixel", nn.Sequential(nn.PixelShuffle(2), nn.ZeroPad2d(1), nn.ReflectionPad2d(1))


def torch(rng: Rng) -> Iterator[Sample]:
    import torch as library
    from safetensors.torch import save as save_safe
    from torch import nn, optim

    library.manual_seed(int(rng.integers(1 << 30)))

    def saved(value: object, **options: Any) -> bytes:
        file = io.BytesIO()
        library.save(value, file, **options)
        return file.getvalue()

    for name, module in layers():
        state = module.state_dict()
        yield one(
            "torch: state dict",
            name,
            str(rng.choice([".pt", ".pth", ".bin", ".ckpt"])),
            saved(state),
        )
        yield one("torch: whole module", name, str(rng.choice([".pt", ".pth"])), saved(module))
        if rng.random() < 0.6:
            yield one(
                "torch: legacy", name, ".pth", saved(state, _use_new_zipfile_serialization=False)
            )
        if rng.random() < 0.6 and state:
            yield one("torch: safetensors", name, ".safetensors", save_safe(
                {k: v.contiguous().clone() for k, v in state.items()}, {"format": "pt"}))  # fmt: skip
    model = next(layers())[1]
    for make in (optim.Adam, optim.AdamW, optim.SGD, optim.RMSprop, optim.Adagrad):
        optimizer = make(model.parameters(), lr=0.01)
        model(library.rand(3, 4)).sum().backward()
        optimizer.step()
        schedule = optim.lr_scheduler.StepLR(optimizer, 5)
        yield one("torch: checkpoint", make.__name__, ".pt", saved({
            "epoch": 3, "model_state_dict": model.state_dict(), "optimizer_state_dict":
            optimizer.state_dict(), "scheduler": schedule.state_dict(), "loss": library.tensor(0.5),
            "args": {"lr": 0.1, "name": "run"}, "best": np.float64(0.9), "classes": ["a", "b"]}))  # fmt: skip
    yield one("torch: checkpoint", "lightning", ".ckpt", saved({
        "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.2.0", "state_dict":
        model.state_dict(), "loops": {"fit_loop": {"state_dict": {}}}, "callbacks": {
        "ModelCheckpoint{'monitor': None}": {"best_model_path": "x"}}, "optimizer_states": [],
        "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1}}))  # fmt: skip
    for kind in (library.float16, library.bfloat16, library.float64, library.int8, library.int64,
                 library.uint8, library.bool, library.complex64, library.float8_e4m3fn):  # fmt: skip
        yield one("torch: tensors", str(kind)[6:], ".pt", saved({"w": library.zeros(3).to(kind)}))
    yield one("torch: tensors", "one", ".pt", saved(library.rand(3)))
    yield one(
        "torch: tensors",
        "list",
        ".pt",
        saved([library.rand(3), library.Size([2]), library.device("cpu")]),
    )
    yield one("torch: tensors", "sparse", ".pt", saved(library.eye(3).to_sparse()))
    yield one("torch: tensors", "parameter", ".pt", saved(nn.Parameter(library.rand(2))))
    yield one(
        "torch: tensors", "dtype", ".pt", saved({"dtype": library.float16, "t": library.rand(2).T})
    )
    yield one("torch: tensors", "ordered", ".pt", saved(OrderedDict(w=library.rand(2, 2))))
    yield one(
        "torch: tensors",
        "views",
        ".pt",
        saved({"a": library.rand(9)[2:5], "b": library.rand(4).view(2, 2)}),
    )
    yield one("torch: tensors", "generator", ".pt", saved({"rng": library.get_rng_state()}))
    yield one("torch: tensors", "quantized", ".pt", saved(
        library.quantize_per_tensor(library.rand(3), 0.1, 0, library.qint8)))  # fmt: skip
    for name, module in list(layers())[:3]:
        scripted = library.jit.script(module)
        file = io.BytesIO()
        library.jit.save(scripted, file)
        yield one("borderline: TorchScript", name, ".pt", file.getvalue())


def keras(rng: Rng) -> Iterator[Sample]:
    import keras as library
    from keras import layers as kl

    library.utils.set_random_seed(int(rng.integers(1 << 30)))
    x = library.Input((8,))
    branch = kl.Dense(4, activation="gelu")(x)
    merged = kl.Concatenate()([branch, kl.Dense(4, "tanh")(x)])
    image = library.Input((8, 8, 3))
    y = kl.Conv2D(4, 3, padding="same", kernel_regularizer=library.regularizers.L2(1e-4))(image)
    y = kl.Add()([kl.BatchNormalization()(y), kl.SeparableConv2D(4, 3, padding="same")(y)])
    y = kl.Dense(2, "softmax")(kl.GlobalAveragePooling2D()(kl.MaxPooling2D()(kl.ReLU()(y))))
    tokens = library.Input((6,), dtype="int32")
    z = kl.Embedding(20, 8)(tokens)
    z = kl.LayerNormalization()(z + kl.MultiHeadAttention(2, 4)(z, z))
    models = {
        "sequential": library.Sequential([library.Input((4,)), kl.Dense(8, "relu"), kl.Dropout(0.2), kl.Dense(1)]),
        "functional": library.Model(x, kl.Dense(1, "sigmoid")(merged)),
        "cnn": library.Model(image, y),
        "lstm": library.Sequential([library.Input((5, 3)), kl.Bidirectional(kl.LSTM(4)), kl.Dense(2)]),
        "gru": library.Sequential([library.Input((5, 3)), kl.GRU(4, return_sequences=True),
                                   kl.TimeDistributed(kl.Dense(2))]),
        "transformer": library.Model(tokens, kl.Dense(2)(kl.GlobalAveragePooling1D()(z))),
        "conv1d": library.Sequential([library.Input((8, 2)), kl.Conv1D(4, 3), kl.Flatten(), kl.Dense(1)]),
        "preprocess": library.Sequential([library.Input((4,)), kl.Rescaling(1 / 255.0), kl.Normalization(),
                                          kl.Dense(1)]),
        "augment": library.Sequential([library.Input((8, 8, 3)), kl.RandomFlip("horizontal"), kl.Flatten(),
                                       kl.UnitNormalization(), kl.Dense(2, kernel_initializer="he_normal")]),
        "multi": library.Model(x, [kl.Dense(1, name="p")(branch), kl.Dense(2, name="q")(branch)]),
        "nested": library.Sequential([library.Input((4,)), library.Sequential([kl.Dense(3)]), kl.Reshape((3, 1))]),
        "constrained": library.Sequential([library.Input((4,)), kl.Dense(
            2, kernel_constraint=library.constraints.MaxNorm(2), bias_initializer=library.initializers.Constant(.1),
            activity_regularizer="l1")]),
    }  # fmt: skip
    optimizers = ["adam", library.optimizers.SGD(0.1, momentum=0.9), "rmsprop", library.optimizers.AdamW(
        library.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))]  # fmt: skip
    for at, (name, model) in enumerate(models.items()):
        if at % 2:
            model.compile(
                optimizers[at % 4], loss=library.losses.MeanSquaredError(), metrics=["mae"]
            )
        for ending in (".keras", ".h5"):
            yield one(f"Keras: {ending}", name, ending, written(model.save, ending))
        if at % 3 == 0:
            yield one(
                "Keras: weights", name, ".weights.h5", written(model.save_weights, ".weights.h5")
            )
            yield one("Keras: architecture", name, ".json", model.to_json().encode())


def onnx(rng: Rng) -> Iterator[Sample]:
    import onnx as library
    import torch as torch_library
    from onnx import TensorProto, helper, numpy_helper
    from skl2onnx import to_onnx
    from sklearn import ensemble, linear_model, neural_network, pipeline, preprocessing, svm, tree

    x = rng.normal(size=(40, 4)).astype("f4")
    y = (x[:, 0] > 0).astype(int)
    for make in (linear_model.LogisticRegression, ensemble.RandomForestClassifier, svm.SVC,
                 tree.DecisionTreeRegressor, neural_network.MLPClassifier,
                 ensemble.GradientBoostingClassifier, linear_model.LinearRegression):  # fmt: skip
        model = pipeline.make_pipeline(preprocessing.StandardScaler(), make()).fit(x, y)
        yield one(
            "ONNX: skl2onnx", make.__name__, ".onnx", to_onnx(model, x[:1]).SerializeToString()
        )
    for at, (name, module) in enumerate(list(layers())[:2]):
        if at:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.onnx"
            torch_library.onnx.export(module.eval(), (torch_library.rand(1, 4),), str(path), dynamo=True,
                                      verbose=False)  # fmt: skip
            yield Sample(
                "ONNX: torch", name, {p.name: p.read_bytes() for p in Path(folder).iterdir()}
            )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(rng.random((4, 2)).astype("f4"), "w")])  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    yield one("ONNX: handmade", "plain", ".onnx", made.SerializeToString())
    helper.set_model_props(made, {"author": "x", "names": "{0: 'cat', 1: 'dog'}"})
    yield one("ONNX: handmade", "props", ".onnx", made.SerializeToString())
    with tempfile.TemporaryDirectory() as folder:
        library.save(made, str(Path(folder) / "m.onnx"), save_as_external_data=True, size_threshold=0,
                     location="weights.bin")  # fmt: skip
        yield Sample(
            "ONNX: handmade", "external", {p.name: p.read_bytes() for p in Path(folder).iterdir()}
        )


def gguf(rng: Rng) -> Iterator[Sample]:
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    for at, template in enumerate((CHATML, LLAMA, TOOLS, None)):
        for kind in (None, GGMLQuantizationType.Q8_0):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "m.gguf"
                writer = GGUFWriter(path, "llama")
                writer.add_block_count(1)
                writer.add_context_length(128)
                writer.add_token_list(["<s>", "</s>", "a"])
                writer.add_token_scores([0.0, 0.0, -1.0])
                writer.add_name("small")
                if template:
                    writer.add_chat_template(template)
                weight = rng.random((4, 64)).astype("f4")
                if kind is None:
                    writer.add_tensor("token_embd.weight", weight)
                else:
                    writer.add_tensor("token_embd.weight", quantize(weight, kind), raw_dtype=kind)
                writer.write_header_to_file()
                writer.write_kv_data_to_file()
                writer.write_tensors_to_file()
                writer.close()
                yield one("GGUF", f"{at}-{kind and kind.name}", ".gguf", path.read_bytes())


def hugging_face(rng: Rng) -> Iterator[Sample]:
    import tokenizers
    import torch as library
    from safetensors.numpy import save as save_safe

    bpe = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="[UNK]"))
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()  # type: ignore[assignment]
    bpe.train_from_iterator(["some words to learn", "more words"], tokenizers.trainers.BpeTrainer(
        special_tokens=["[UNK]"], show_progress=False))  # fmt: skip
    weights = {"embed.weight": rng.random((4, 4)).astype("f4"), "head.bias": np.zeros(4, "f2")}
    readme = (b"---\nlicense: apache-2.0\nlanguage:\n- en\ntags:\n- text-generation\npipeline_tag: x\n---\n"
              b"# Small\n\n```python\nfrom transformers import pipeline\npipe = pipeline('x')\n```\n"
              b'| a | b |\n|---|---|\n| 1 | 2 |\n\n<p align="center"><img src="a.png"></p>\n')  # fmt: skip

    def text(value: object) -> bytes:
        return json.dumps(value, indent=2).encode()

    for at, (kind, architecture) in enumerate((
        ("bert", "BertForSequenceClassification"), ("llama", "LlamaForCausalLM"), ("gpt2", "GPT2LMHeadModel"),
        ("t5", "T5ForConditionalGeneration"), ("vit", "ViTForImageClassification"),
        ("whisper", "WhisperForConditionalGeneration"), ("clip", "CLIPModel"), ("qwen2", "Qwen2ForCausalLM"),
    )):  # fmt: skip
        files = {
            "config.json": text({"architectures": [architecture], "model_type": kind, "hidden_size": 4,
                "id2label": {"0": "NEG", "1": "POS"}, "torch_dtype": "float32", "rope_scaling": None,
                "transformers_version": "4.44.0", "vocab_size": 4, "layer_norm_eps": 1e-12}),
            "generation_config.json": text({"bos_token_id": 1, "do_sample": True, "temperature": 0.6}),
            "tokenizer.json": bpe.to_str().encode(),
            "tokenizer_config.json": text({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length":
                1000000000000000019884624838656, "chat_template": (CHATML, LLAMA, TOOLS)[at % 3],
                "added_tokens_decoder": {"0": {"content": "<s>", "special": True}}}),
            "special_tokens_map.json": text({"bos_token": "<s>", "eos_token": {"content": "</s>"}}),
            "vocab.json": text({"a": 0, "b": 1, "Ġc": 2}), "merges.txt": b"#version: 0.2\na b\nab c\n",
            "README.md": readme, ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        }  # fmt: skip
        if at % 3 != 2:
            files["model.safetensors"] = save_safe(weights, {"format": "pt"})
        else:
            file = io.BytesIO()
            library.save({k: library.from_numpy(v) for k, v in weights.items()}, file)
            files["pytorch_model.bin"] = file.getvalue()
        if at % 2:
            files["LICENSE"] = b"Apache License, Version 2.0\n" * 3
            files["preprocessor_config.json"] = text({"do_resize": True, "image_mean": [0.5, 0.5, 0.5],
                "image_processor_type": "ViTImageProcessor", "size": {"height": 224}})  # fmt: skip
            files["vocab.txt"] = b"[PAD]\n[UNK]\nhello\n##ing\n"
        if at % 4 == 3:
            files["chat_template.jinja"] = TOOLS.encode()
        yield Sample("Hugging Face folders", kind, files)
    index = {"metadata": {"total_size": 128}, "weight_map": {"embed.weight": "model-00001-of-00002.safetensors",
        "head.bias": "model-00002-of-00002.safetensors"}}  # fmt: skip
    yield Sample("Hugging Face folders", "sharded", {"config.json": text({"model_type": "llama"}),
        "model.safetensors.index.json": text(index), "model-00001-of-00002.safetensors": save_safe(
        {"embed.weight": weights["embed.weight"]}), "model-00002-of-00002.safetensors": save_safe(
        {"head.bias": weights["head.bias"]})})  # fmt: skip
    yield Sample("Hugging Face folders", "peft", {"adapter_config.json": text({"peft_type": "LORA", "r": 8,
        "base_model_name_or_path": "meta/x", "target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
        "auto_mapping": None}), "adapter_model.safetensors": save_safe(weights), "README.md": readme})  # fmt: skip
    yield Sample("Hugging Face folders", "sentence-transformer", {"modules.json": text([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]),
        "1_Pooling/config.json": text({"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True}),
        "config.json": text({"model_type": "bert"}), "model.safetensors": save_safe(weights),
        "sentence_bert_config.json": text({"max_seq_length": 256})})  # fmt: skip
    yield Sample("Hugging Face folders", "diffusers", {"model_index.json": text({
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0", "unet": ["diffusers",
        "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"], "safety_checker": [None, None]}),
        "unet/config.json": text({"_class_name": "UNet2DConditionModel"}), "unet/diffusion_pytorch_model.safetensors":
        save_safe(weights)})  # fmt: skip


def folders(rng: Rng) -> Iterator[Sample]:
    from PIL import Image

    picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype="u1"))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        file = io.BytesIO()
        picture.save(file, kind)
        yield one("images", "picture", "." + kind.lower(), file.getvalue())
    yield one(
        "text and settings",
        "params",
        ".yaml",
        b"lr: 0.1\nlayers: [1, 2]\nname: run\n# note\nx: !!int 3\n",
    )
    yield one("text and settings", "settings", ".toml", b"[model]\nname = 'x'\nlr = 0.1\n")
    yield one("text and settings", "settings", ".ini", b"[model]\nname = x\n")
    yield one("text and settings", "labels", ".txt", "cat\ndog\nVögel\n".encode())
    yield one("text and settings", "README", ".md", b"# Model\n\nTrain with `python train.py`.\n")
    yield one("text and settings", "metrics", ".json", b'{"accuracy": 0.98, "loss": [0.1, 0.05]}')
    yield one(
        "text and settings",
        "log",
        ".jsonl",
        b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n',
    )
    header = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
    safe = struct.pack("<Q", len(header)) + header + bytes(8)
    inside = {
        "model/config.json": b'{"model_type": "x"}',
        "model/model.safetensors": safe,
        "model/README.md": b"# x\n",
    }
    yield one("archives", "model", ".zip", zipped(inside))
    yield one("archives", "deflated", ".zip", zipped(inside, 8))
    for mode, ending in (
        ("w", ".tar"),
        ("w:gz", ".tar.gz"),
        ("w:bz2", ".tar.bz2"),
        ("w:xz", ".tar.xz"),
    ):
        yield one("archives", "model", ending, tarred(inside, mode))
    yield one("archives", "nested", ".zip", zipped({"a.tar": tarred(inside), "b.json": b"{}"}))
    import gzip

    yield one("archives", "words", ".txt.gz", gzip.compress(b"cat\ndog\n"))
    yield one("archives", "table", ".csv.gz", gzip.compress(b"a,b\n1,2\n"))
    yield from mlflow(rng)


def mlflow(rng: Rng) -> Iterator[Sample]:
    """Return folders as `mlflow.sklearn.save_model` lays them out, written by its own library."""
    import mlflow.sklearn as flavor
    from mlflow.models import infer_signature
    from sklearn import ensemble, linear_model, pipeline, preprocessing

    x, y = rng.normal(size=(30, 3)), np.arange(30) % 2
    for at, model in enumerate((linear_model.LogisticRegression(), ensemble.RandomForestClassifier(3),
                                pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()))):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            try:
                flavor.save_model(model.fit(x, y), str(path), signature=infer_signature(x, y), pip_requirements=[
                    "scikit-learn==1.9.1"], serialization_format="pickle" if at % 2 else "cloudpickle")  # fmt: skip
            except Exception as error:  # noqa: BLE001 - a part of mlflow that is not installed
                print(f"MLflow left out: {error}")
                continue
            yield Sample("MLflow folders", f"sklearn-{at}", {str(p.relative_to(path)): p.read_bytes()
                         for p in path.rglob("*") if p.is_file()})  # fmt: skip


def samples(rng: Rng) -> Iterator[Sample]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (torch, keras, onnx, gguf, hugging_face, folders):
            yield from part(rng)
