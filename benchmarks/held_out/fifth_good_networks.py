"""Round 5, harmless: networks, as torch, Keras, JAX, ONNX and Hugging Face folders keep them."""

# fmt: off
# One sample a line: a table is read so.

import io
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out.fifth_asm import Checked

Row = tuple[str, str, bytes, str]
Files = dict[str, bytes]
CHATML = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LLAMA3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
MISTRAL = "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n{{- bos_token }}\n{%- for message in loop_messages %}\n    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n        {{- raise_exception('Conversation roles must alternate') }}\n    {%- endif %}\n    {%- if message['role'] == 'user' %}\n        {{- '[INST] ' + message['content'] + ' [/INST]' }}\n    {%- else %}\n        {{- ' ' + message['content'] + eos_token }}\n    {%- endif %}\n{%- endfor %}\n"
TOOLS = "{%- if tools %}\n{{- '<tools>' }}\n{%- for tool in tools %}\n{{- tool | tojson(indent=2) }}\n{%- endfor %}\n{{- '</tools>' }}\n{%- endif %}\n{%- set ns = namespace(found=false, last=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n{%- if message.role == 'user' and not ns.found %}{%- set ns.found = true %}{%- endif %}\n{%- endfor %}\n{%- macro render(m) %}{{ '<|' ~ m.role ~ '|>' ~ (m.content if m.content is string else m.content | map(attribute='text') | join('')) }}{% endmacro %}\n{%- for message in messages %}{{ render(message) }}{%- if message.tool_calls is defined %}{%- for call in message.tool_calls %}{{ call.function.name ~ '(' ~ (call.function.arguments | tojson) ~ ')' }}{%- endfor %}{%- endif %}{%- endfor %}\n{{- strftime_now('%d %b %Y') }}"


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2).encode()


def torched(value: Any, **how: Any) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(value, out, **how)
    return out.getvalue()


def torches() -> Iterator[Row]:
    import torch
    from torch import nn, optim

    torch.manual_seed(11)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    state, kind = net.state_dict(), "torch (state)"
    yield kind, "zip.pt", torched(state), "torch:weights"
    yield kind, "legacy.pth", torched(state, _use_new_zipfile_serialization=False), "torch:weights"
    yield kind, "protocol4.pt", torched(state, pickle_protocol=4), "torch:full"
    yield kind, "protocol5_legacy.bin", torched(state, pickle_protocol=5, _use_new_zipfile_serialization=False), "torch:full"
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.complex64, torch.float8_e4m3fn, torch.bool, torch.uint8):
        yield kind, f"{str(dtype).split('.')[1]}.pt", torched({k: v.to(dtype) for k, v in state.items()}), "torch:weights"
    lin = nn.Linear(6, 4)
    quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(lin, nn.ReLU()), {nn.Linear}, torch.qint8)
    yield kind, "quantised_dynamic.pt", torched(quantised.state_dict()), "torch:full"
    yield kind, "quantised_tensor.pt", torched({"q": torch.quantize_per_tensor(torch.rand(4, 4), 0.1, 2, torch.quint8), "c": torch.quantize_per_channel(torch.rand(2, 3), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]), 0, torch.qint8)}), "torch:full"
    yield kind, "sparse_coo.pt", torched({"s": torch.eye(5).to_sparse(), "r": torch.eye(4).to_sparse_csr()}), "torch:weights"
    yield kind, "views_of_one_storage.pt", torched({"a": lin.weight.detach()[0], "b": lin.weight.detach().t(), "e": torch.empty(0)}), "torch:weights"
    yield kind, "parameters.pt", torched({"p": lin.weight, "buffer": nn.Buffer(torch.ones(2))}), "torch:weights"
    yield kind, "attention.pt", torched(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2).state_dict()), "torch:weights"
    yield kind, "recurrent.pt", torched(nn.LSTM(4, 6, 2, bidirectional=True).state_dict()), "torch:weights"
    yield kind, "meta.pt", torched({"shape": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu"), "names": ["a"], "none": None}), "torch:weights"
    yield kind, "byte_order_numpy.pt", torched({"mean": np.array([0.1, 0.2]), "std": np.float32(0.3)}), "torch:full"
    kind = "torch (checkpoint)"
    for name, made in (("adam", optim.AdamW(net.parameters(), amsgrad=True)), ("sgd", optim.SGD(net.parameters(), 0.1, momentum=0.9)), ("rmsprop", optim.RMSprop(net.parameters()))):
        net(torch.randn(2, 1, 8, 8)).sum().backward()
        made.step()
        plan = optim.lr_scheduler.CosineAnnealingLR(made, 10)
        made.step()
        plan.step()
        yield kind, f"{name}.pth.tar", torched({"epoch": 7, "arch": "resnet", "state_dict": {f"module.{k}": v for k, v in state.items()}, "best_acc1": torch.tensor(71.2), "optimizer": made.state_dict(), "scheduler": plan.state_dict()}), "torch:weights"
    import argparse
    import pathlib
    from collections import OrderedDict, defaultdict

    yield kind, "lightning.ckpt", torched({"epoch": 3, "global_step": 1200, "pytorch-lightning_version": "2.4.0", "state_dict": OrderedDict(state), "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4, "completed": 3}}}}, "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.3), "best_model_path": "epoch=3.ckpt"}}, "optimizer_states": [made.state_dict()], "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": {"lr": 1e-3, "layers": [4, 8]}}), "torch:weights"
    yield kind, "with_namespace_arguments.pt", torched({"model": state, "args": argparse.Namespace(lr=0.1, data="imagenet", resume=None), "path": pathlib.PurePosixPath("runs/exp1")}), "torch:full"
    yield kind, "rng_state.pth", torched({"python": (3, (1, 2, 3), None), "numpy": np.random.RandomState(1).get_state(), "cpu": torch.get_rng_state()}), "torch:full"
    yield kind, "ema.pt", torched({"ema": OrderedDict(state), "updates": 10, "date": "2025-02-01T10:00:00", "meters": defaultdict(list, loss=[0.1])}), "torch:full"
    yield kind, "scaler.pt", torched({"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0}), "torch:weights"
    kind = "torch (whole modules)"
    yield kind, "sequential.pt", torched(net), "torch:full"
    yield kind, "transformer_layer.pt", torched(nn.TransformerEncoderLayer(8, 2, 16)), "torch:full"
    yield kind, "embedding_bag.pth", torched(nn.ModuleDict({"emb": nn.EmbeddingBag(10, 4), "act": nn.GELU(), "drop": nn.Dropout(0.1), "norm": nn.LayerNorm(4)}), _use_new_zipfile_serialization=False), "torch:full"
    yield kind, "gru.pt", torched(nn.GRU(3, 4)), "torch:full"
    kind = "torch (scripts)"
    for name, module, example in (("traced_cnn", net.eval(), torch.zeros(1, 1, 8, 8)), ("traced_mlp", nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()), torch.zeros(1, 3))):
        out = io.BytesIO()
        torch.jit.save(torch.jit.trace(module, example), out, {"labels.txt": "cat\ndog\n"} if name == "traced_mlp" else None)
        yield kind, f"{name}.pt", out.getvalue(), "torch:jit"
    for name, module in (("scripted_mlp", nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(1))), ("scripted_lstm", nn.LSTM(3, 4)), ("scripted_frozen", torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Tanh()).eval())))):
        out = io.BytesIO()
        torch.jit.save(torch.jit.script(module), out)
        yield kind, f"{name}.pt", out.getvalue(), "torch:jit"
    out = io.BytesIO()
    torch.export.save(torch.export.export(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), (torch.zeros(1, 3),)), out)
    yield kind, "exported.pt2", out.getvalue(), "torch:export"


def keras() -> Iterator[Row]:
    import h5py
    import keras as k

    k.utils.set_random_seed(3)
    layers = k.layers
    models = {
        "mlp": k.Sequential([layers.Input((4,)), layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(3, "softmax")]),
        "cnn": k.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(4, 3), layers.MaxPooling2D(), layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)]),
        "lstm": k.Sequential([layers.Input((5,)), layers.Embedding(20, 4), layers.Bidirectional(layers.LSTM(3)), layers.Dense(1, "sigmoid")]),
    }
    first, second = layers.Input((3,), name="age"), layers.Input((2,), name="dose")
    joined = layers.Concatenate()([layers.Dense(4, kernel_regularizer="l2")(first), second])
    models["two_inputs"] = k.Model([first, second], [layers.Dense(1, name="risk")(joined), layers.Dense(2, name="group")(joined)])
    inside = layers.Input((6, 4))
    models["attention"] = k.Model(inside, layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.MultiHeadAttention(2, 2)(inside, inside))))
    models["normalised"] = k.Sequential([layers.Input((4,)), layers.Normalization(mean=[0.0, 1, 2, 3], variance=[1.0, 1, 1, 1]), layers.Rescaling(0.5), layers.Dense(1)])
    with tempfile.TemporaryDirectory() as name:
        for title, model in models.items():
            model.compile("adam", "mse" if title != "two_inputs" else ["mse", "mae"])
            for ending in (".keras", ".h5", ".weights.h5") if title in {"mlp", "cnn", "two_inputs"} else (".keras",):
                path = Path(name) / f"{title}{ending}"
                (model.save_weights if ending == ".weights.h5" else model.save)(path)
                yield "keras", path.name, path.read_bytes(), "hdf5" if ending == ".weights.h5" else "keras:safe"
        yield "keras", "architecture.json", models["mlp"].to_json().encode(), "json"
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        group = file.create_group("experiment")
        group.attrs["description"] = "pressure by minute"
        group.create_dataset("pressure", data=np.arange(60.0), compression="gzip", chunks=(20,))
        group.create_dataset("names", data=["a", "bb"], dtype=h5py.string_dtype())
        file["again"] = h5py.SoftLink("/experiment/pressure")
    yield "hdf5", "measurements.h5", out.getvalue(), "hdf5"
    out = io.BytesIO()
    with h5py.File(out, "w", libver="latest") as file:
        file.create_dataset("x", data=np.eye(3), shuffle=True, fletcher32=True, compression="lzf")
        file.create_dataset("r", data=np.zeros((2,), [("a", "i4"), ("b", "S3")]))
    yield "hdf5", "latest.hdf5", out.getvalue(), "hdf5"


def onnxes(rng: np.random.Generator) -> Iterator[Row]:
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    for opset, version in ((7, 3), (9, 4), (11, 6), (13, 7), (15, 8), (17, 8), (19, 9), (21, 10), (22, 10)):
        weight = numpy_helper.from_array(rng.normal(size=(4, 3)).astype("f4"), "w")
        nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["r"]), helper.make_node("Softmax", ["r"], ["y"], axis=1)]
        graph = helper.make_graph(nodes, f"opset{opset}", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], [weight])
        if version == 3:
            graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3]))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=version, producer_name="held")
        yield "onnx", f"opset_{opset}.onnx", bytes(model.SerializeToString()), "onnx"
    x, y = rng.normal(size=(50, 4)).astype("f4"), np.arange(50) % 2
    for name, fitted in (("logistic", make_pipeline(StandardScaler(), LogisticRegression())), ("forest", RandomForestClassifier(3)), ("boosting", GradientBoostingRegressor(n_estimators=3)), ("svc", SVC())):
        yield "onnx", f"skl_{name}.onnx", bytes(to_onnx(fitted.fit(x, y), x[:1]).SerializeToString()), "onnx"
    words = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good film", "bad film"] * 5, y[:10])
    from skl2onnx.common.data_types import StringTensorType

    yield "onnx", "skl_text.onnx", bytes(to_onnx(words, initial_types=[("t", StringTensorType([None]))]).SerializeToString()), "onnx"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "m.onnx")
        try:
            torch.onnx.export(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()), (torch.zeros(1, 4),), path, dynamo=False, opset_version=17)
            yield "onnx", "torch_export.onnx", Path(path).read_bytes(), "onnx"
            from onnxruntime.quantization import quantize_dynamic

            quantize_dynamic(path, path + ".q")
            yield "onnx", "quantised_dynamic.onnx", Path(path + ".q").read_bytes(), "onnxruntime"
        except (ImportError, OSError, RuntimeError):
            pass
    branch = [helper.make_graph([helper.make_node("Constant", [], ["b"], value=helper.make_tensor("c", 1, [1], [v]))], f"g{v}", [], [helper.make_tensor_value_info("b", 1, [1])]) for v in (0.0, 1.0)]
    graph = helper.make_graph([helper.make_node("If", ["flag"], ["y"], then_branch=branch[0], else_branch=branch[1])], "branches", [helper.make_tensor_value_info("flag", TensorProto.BOOL, [])], [helper.make_tensor_value_info("y", 1, [1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.helper.set_model_props(model, {"author": "a", "labels": '["cat", "dog"]'})
    yield "onnx", "branches.onnx", bytes(model.SerializeToString()), "onnx"


def external(rng: np.random.Generator) -> Files:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(rng.normal(size=(64, 64)).astype("f4"), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as name:
        onnx.save_model(model, f"{name}/model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
        return {p.name: p.read_bytes() for p in Path(name).iterdir()}


def value(kind: int, item: Any) -> bytes:
    """Return a value of GGUF metadata."""
    if kind == 8:
        data = item.encode()
        return struct.pack("<Q", len(data)) + data
    if kind == 9:
        inner, items = item
        return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, v) for v in items)
    return struct.pack({0: "<B", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q"}[kind], item)


def gguf(rng: np.random.Generator, template: str, architecture: str) -> bytes:
    words = ["<unk>", "<s>", "</s>", "▁the", "▁model"]
    keys: list[tuple[str, int, Any]] = [("general.architecture", 8, architecture), ("general.name", 8, "tiny"), ("general.file_type", 4, 0), ("general.alignment", 4, 32), (f"{architecture}.context_length", 4, 512), (f"{architecture}.embedding_length", 4, 8), (f"{architecture}.rope.freq_base", 6, 10000.0), ("tokenizer.ggml.model", 8, "llama"), ("tokenizer.ggml.tokens", 9, (8, words)), ("tokenizer.ggml.scores", 9, (6, [0.0] * 5)), ("tokenizer.ggml.token_type", 9, (5, [2, 3, 3, 1, 1])), ("tokenizer.ggml.add_bos_token", 7, True), ("general.tags", 9, (8, ["text-generation", "en"]))]
    if template:
        keys.append(("tokenizer.chat_template", 8, template))
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(keys))
    for name, kind, item in keys:
        head += value(8, name) + struct.pack("<I", kind) + value(kind, item)
    body = b""
    for name in ("token_embd.weight", "output_norm.weight"):
        head += value(8, name) + struct.pack("<IQQIQ", 2, 8, 5, 0, len(body))
        body += rng.normal(size=40).astype("<f4").tobytes()
        body += bytes(-len(body) % 32)
    return head + bytes(-len(head) % 32) + body


def tensors(rng: np.random.Generator) -> Iterator[Row]:
    import torch
    from safetensors.numpy import save as save_numpy
    from safetensors.torch import save as save_torch

    yield "safetensors", "numpy.safetensors", save_numpy({"a": rng.normal(size=(3, 4)), "b": np.arange(5)}), "safetensors"
    yield "safetensors", "metadata.safetensors", save_numpy({"w": np.ones(3, "f2")}, {"format": "np", "description": "a note"}), "safetensors"
    yield "safetensors", "bf16_f8.safetensors", save_torch({"a": torch.ones(4, dtype=torch.bfloat16), "b": torch.ones(4).to(torch.float8_e5m2), "c": torch.tensor([True])}), "safetensors_torch"
    yield "safetensors", "empty_tensor.safetensors", save_torch({"e": torch.empty(0, 4), "s": torch.tensor(1.5)}, {"format": "pt"}), "safetensors_torch"
    yield "safetensors", "lora.safetensors", save_torch({f"base_model.model.layers.{n}.q_proj.lora_{c}.weight": torch.randn(2, 4) for n in range(3) for c in "AB"}, {"format": "pt"}), "safetensors_torch"
    for name, template in (("chatml", CHATML), ("llama3", LLAMA3), ("mistral", MISTRAL), ("none", "")):
        yield "gguf", f"{name}-q.gguf", gguf(rng, template, "llama" if name != "mistral" else "mistral"), "gguf"
    import jax

    exported = jax.export.export(jax.jit(lambda v: jax.numpy.tanh(v) * 2))(jax.ShapeDtypeStruct((4,), "float32"))
    yield "borderline: jax", "tanh.jaxexport", bytes(exported.serialize()), "jax_export"


def folders(rng: np.random.Generator) -> Iterator[tuple[str, Files]]:
    from safetensors.numpy import save

    here = Path(__file__).with_name("fifth_fixtures")
    read = lambda name: (here / name).read_bytes()  # noqa: E731
    weights = {"model.embed.weight": rng.normal(size=(16, 4)).astype("f4"), "lm_head.weight": rng.normal(size=(4, 16)).astype("f4")}
    safe = save(weights, {"format": "pt"})
    card = b"---\nlicense: apache-2.0\nlanguage:\n- en\npipeline_tag: text-generation\ntags:\n- pytorch\n---\n\n# Tiny\n\n```python\nfrom transformers import AutoModel, AutoTokenizer\nimport subprocess, os\n\ntok = AutoTokenizer.from_pretrained('acme/tiny')\nprint(os.getcwd(), tok('hello'))\n```\n\nNever use `pickle.load` on files of strangers; see `os.system`.\n"
    special = j(bos_token="<s>", eos_token={"content": "</s>", "lstrip": False, "normalized": False}, unk_token="<unk>")
    attributes = b"*.bin filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
    base = {".gitattributes": attributes, "README.md": card, "LICENSE": b"Apache License\nVersion 2.0, January 2004\n"}
    llama = j(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=4, num_hidden_layers=1, vocab_size=16, torch_dtype="bfloat16", rope_scaling=None, transformers_version="4.48.0")
    generation = j(_from_model_config=True, bos_token_id=1, eos_token_id=[2, 3], temperature=0.6, top_p=0.9)
    yield "llama", {**base, "config.json": llama, "generation_config.json": generation, "model.safetensors": safe, "tokenizer.json": read("bpe_tokenizer.json"), "tokenizer_config.json": j(tokenizer_class="PreTrainedTokenizerFast", chat_template=LLAMA3, model_max_length=2048, added_tokens_decoder={"0": {"content": "<unk>", "special": True}}), "special_tokens_map.json": special}
    yield "llama_sharded", {**base, "config.json": llama, "model-00001-of-00002.safetensors": save({"a": weights["model.embed.weight"]}), "model-00002-of-00002.safetensors": save({"b": weights["lm_head.weight"]}), "model.safetensors.index.json": j(metadata={"total_size": 512}, weight_map={"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})}
    yield "qwen_tools", {**base, "config.json": llama, "model.safetensors": safe, "chat_template.jinja": TOOLS.encode(), "vocab.json": read("bpe-vocab.json"), "merges.txt": read("bpe-merges.txt"), "tokenizer_config.json": j(tokenizer_class="Qwen2Tokenizer", extra_special_tokens={})}
    yield "bert", {"config.json": j(model_type="bert", architectures=["BertForSequenceClassification"], id2label={"0": "neg", "1": "pos"}, label2id={"neg": 0, "pos": 1}), "model.safetensors": safe, "vocab.txt": read("wordpiece-vocab.txt"), "tokenizer.json": read("wordpiece_tokenizer.json"), "tokenizer_config.json": j(do_lower_case=True, tokenizer_class="BertTokenizer"), "special_tokens_map.json": j(cls_token="[CLS]", sep_token="[SEP]")}
    yield "t5_sentencepiece", {"config.json": j(model_type="t5", architectures=["T5ForConditionalGeneration"], task_specific_params={"summarization": {"prefix": "summarize: "}}), "model.safetensors": safe, "spiece.model": read("unigram_spiece.model"), "tokenizer.json": read("unigram_tokenizer.json")}
    yield "sentence_transformer", {**base, "config.json": j(model_type="bert"), "model.safetensors": safe, "modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]).encode(), "1_Pooling/config.json": j(word_embedding_dimension=4, pooling_mode_mean_tokens=True), "config_sentence_transformers.json": j(__version__={"sentence_transformers": "3.3.1", "transformers": "4.47.0"}, prompts={}), "sentence_bert_config.json": j(max_seq_length=128, do_lower_case=False)}
    yield "diffusion", {**base, "model_index.json": j(_class_name="StableDiffusionPipeline", _diffusers_version="0.31.0", unet=["diffusers", "UNet2DConditionModel"], scheduler=["diffusers", "DDIMScheduler"], safety_checker=[None, None]), "unet/config.json": j(_class_name="UNet2DConditionModel", sample_size=8), "unet/diffusion_pytorch_model.safetensors": safe, "scheduler/scheduler_config.json": j(_class_name="DDIMScheduler", beta_start=0.0001)}
    yield "lora_adapter", {**base, "adapter_config.json": j(peft_type="LORA", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], base_model_name_or_path="acme/tiny", task_type="CAUSAL_LM", auto_mapping=None), "adapter_model.safetensors": safe}
    yield "vision", {**base, "config.json": j(model_type="vit", architectures=["ViTForImageClassification"]), "preprocessor_config.json": j(image_processor_type="ViTImageProcessor", do_resize=True, size={"height": 32, "width": 32}, image_mean=[0.5] * 3), "model.safetensors": safe}
    yield "whisper", {"config.json": j(model_type="whisper"), "model.safetensors": safe, "normalizer.json": j(colour="color"), "added_tokens.json": j(**{"<|en|>": 50259}), "preprocessor_config.json": j(feature_extractor_type="WhisperFeatureExtractor", sampling_rate=16000)}
    yield "onnx_folder", {**base, "config.json": j(model_type="bert"), **{f"onnx/{k}": v for k, v in external(rng).items()}}
    yield "onnx_external", external(rng)
    yield "torch_bin_with_config", {"config.json": llama, "pytorch_model.bin": torched({k: __import__("torch").tensor(v) for k, v in weights.items()}), "generation_config.json": generation}
    yield "trainer_checkpoint", {"config.json": llama, "model.safetensors": safe, "trainer_state.json": j(best_metric=None, epoch=1.0, log_history=[{"epoch": 0.1, "loss": 2.3, "step": 10}], is_local_process_zero=True), "optimizer.pt": torched({"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}), "scheduler.pt": torched({"last_epoch": 3, "_last_lr": [0.01]})}


def samples(rng: np.random.Generator) -> Iterator[Checked]:
    for part in (torches(), keras(), onnxes(rng), tensors(rng)):
        for category, name, data, how in part:
            yield Checked(category, name, {name: data}, how)
    for name, files in folders(rng):
        yield Checked("hugging face folders", name, files, "folder")
