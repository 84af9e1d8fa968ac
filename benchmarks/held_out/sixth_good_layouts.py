"""Harmless files of the sixth round: templates, model folders, and what scanners keep as examples."""

import io
import json
import pickle  # noqa: TID251 - written, never read
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from held_out.sixth_asm import Loaded
from held_out.sixth_gguf import gguf
from held_out.sixth_good_files import Row, j
from held_out.sixth_good_tables import stored

CHATS = {
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "phi": "{% for message in messages %}{{ '<|' + message['role'] + '|>' + '\n' + message['content'] + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "tools": "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '</tools>\n' }}{%- endif %}{%- set ns = namespace(last=0, multi=true) %}{%- for m in messages[::-1] %}{%- if ns.multi and m.role == 'user' and m.content is string %}{%- set ns.multi = false %}{%- set ns.last = messages|length - 1 - loop.index0 %}{%- endif %}{%- endfor %}{%- for m in messages %}{{- '<|im_start|>' ~ m.role ~ '\n' ~ m.content.split('</think>')[-1].lstrip('\n') ~ '<|im_end|>\n' }}{%- endfor %}",
    "date": "{%- if strftime_now is defined %}{%- set date = strftime_now('%d %b %Y') %}{%- else %}{%- set date = '26 Jul 2026' %}{%- endif %}Today: {{ date }}\n{% for m in messages if m.role != 'tool' %}{{ loop.index }}. {{ m.content | default('', true) | replace('\\r', '') }}\n{% endfor %}",
    "macros": "{%- macro text(content) -%}{%- if content is string -%}{{- content -}}{%- else -%}{%- for part in content -%}{%- if part.type == 'text' -%}{{- part.text -}}{%- elif part.type == 'image' -%}{{- '<image>' -}}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}{%- for m in messages -%}{{- '[' + m.role|upper + '] ' + text(m.content) + '\n' -}}{%- endfor -%}",
    "alternating": "{%- set loop_messages = messages[1:] if messages[0].role == 'system' else messages -%}{%- for message in loop_messages -%}{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('Roles must alternate') }}{%- endif -%}{{ {'user': '### Human: ', 'assistant': '### AI: '}[message.role] ~ message.content ~ (eos_token if message.role == 'assistant' else '') }}{%- endfor -%}",
    "breaks": "{% for m in messages %}{% if loop.index > 10 %}{% break %}{% endif %}{% if not m.content %}{% continue %}{% endif %}<s>{{ m.role }}: {{ m.content|e }}</s>{% endfor %}{% if add_generation_prompt is defined and add_generation_prompt %}assistant:{% endif %}",
    "documents": "{% if documents %}{% for d in documents %}Document {{ loop.index0 }}\nTitle: {{ d['title'] }}\n{{ d['text'] }}\n{% endfor %}{% endif %}{% for m in messages %}{{ m['role'].capitalize() + ': ' + m['content'].strip() + '\n' }}{% endfor %}",
    "items": "{% for m in messages %}{% for key, value in m.items() | sort %}{{ key }}={{ value | tojson(indent=2) if value is mapping else value }};{% endfor %}{% endfor %}",
}  # fmt: skip


def templates() -> Iterator[Row]:
    words: dict[str, Any] = {
        "general.architecture": "qwen3", "general.name": "A model", "general.file_type": 7, "general.tags": ["chat", "de"], "qwen3.block_count": 2, "qwen3.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [f"t{i}" for i in range(40)], "tokenizer.ggml.token_type": [1] * 40, "tokenizer.ggml.merges": ["a b", "b c"], "tokenizer.ggml.add_bos_token": False,
    }  # fmt: skip
    weights = {"token_embd.weight": ((8, 4), 0, bytes(128)), "blk.0.attn_q.weight": ((32, 2), 8, bytes(68)), "output_norm.weight": ((8,), 1, bytes(16))}  # fmt: skip
    token = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}  # fmt: skip
    for at, (name, source) in enumerate(CHATS.items()):
        if at % 2 == 0:
            data = gguf(words | {"tokenizer.chat_template": source}, weights)
            yield f"{name}.gguf", {f"{name}.gguf": data}, "gguf"
        else:
            config = j(bos_token="<s>", eos_token=token, tokenizer_class="PreTrainedTokenizerFast", model_max_length=4096, chat_template=source, clean_up_tokenization_spaces=False)  # fmt: skip
            yield f"{name}_tokenizer", {"tokenizer_config.json": config}, "template"
        if at % 3 == 0:
            yield f"{name}.jinja", {"chat_template.jinja": source.encode()}, "jinja"
    both = [{"name": "default", "template": CHATS["phi"]}, {"name": "rag", "template": CHATS["documents"]}]  # fmt: skip
    yield "several_tokenizer", {"tokenizer_config.json": j(tokenizer_class="CohereTokenizer", chat_template=both)}, "template"  # fmt: skip
    yield "processor", {"chat_template.json": j(chat_template=CHATS["macros"])}, "template"
    yield "no_template.gguf", {"embed.gguf": gguf({"general.architecture": "bert", "bert.embedding_length": 8}, weights)}, "gguf"  # fmt: skip
    yield "version2.gguf", {"old.gguf": gguf(words, weights, version=2)}, "gguf"


MLMODEL = """artifact_path: model
flavors:
  python_function:
    data: model.json
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.xgboost
    python_version: 3.11.7
  xgboost:
    code: null
    data: model.json
    model_class: xgboost.core.Booster
    model_format: json
    xgb_version: 3.0.0
mlflow_version: 3.1.0
model_uuid: 0123456789abcdef0123456789abcdef
run_id: 11111111111111111111111111111111
utc_time_created: '2026-01-02 03:04:05.000000'
"""
CONDA = """channels:
- conda-forge
dependencies:
- python=3.11.7
- pip<=24
- pip:
  - mlflow==3.1.0
  - xgboost==3.0.0
name: mlflow-env
"""


def tiny_booster() -> bytes:
    import xgboost

    data = xgboost.DMatrix(np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1]))
    return bytes(xgboost.train({"nthread": 1, "max_depth": 2}, data, 2).save_raw("json"))


def configs() -> Iterator[Row]:
    from safetensors.numpy import save

    weights = save({"classifier.weight": np.zeros((2, 4), "f4"), "classifier.bias": np.zeros(2, "f4")}, {"format": "pt"})  # fmt: skip
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##b": 5}
    tokenizer = j(
        version="1.0", truncation=None, padding=None, added_tokens=[{"id": 0, "content": "[PAD]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}],
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}, pre_tokenizer={"type": "BertPreTokenizer"}, post_processor=None,
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}, model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
    )  # fmt: skip
    bert = j(architectures=["BertForSequenceClassification"], model_type="bert", hidden_size=4, num_hidden_layers=1, id2label={"0": "no", "1": "yes"}, torch_dtype="float32", transformers_version="4.57.0")  # fmt: skip
    card = b"---\nlicense: apache-2.0\nlanguage: de\n---\n# A classifier\n\n```python\nfrom transformers import pipeline\n```\n"
    words = "\n".join(vocabulary).encode() + b"\n"
    folders: dict[str, dict[str, bytes]] = {
        "bert": {"config.json": bert, "model.safetensors": weights, "tokenizer.json": tokenizer, "tokenizer_config.json": j(do_lower_case=True, tokenizer_class="BertTokenizer"), "vocab.txt": words, "special_tokens_map.json": j(pad_token="[PAD]", unk_token="[UNK]"), "README.md": card},
        "gpt2": {"config.json": j(architectures=["GPT2LMHeadModel"], model_type="gpt2", n_layer=2, activation_function="gelu_new"), "generation_config.json": j(do_sample=True, temperature=0.7, eos_token_id=[1, 2]), "vocab.json": j(**{"a": 0, "Ġb": 1, "<|endoftext|>": 2}), "merges.txt": "#version: 0.2\nĠ t\nh e\n".encode(), "model.safetensors": weights},
        "peft": {"adapter_config.json": j(peft_type="LORA", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], base_model_name_or_path="org/base", auto_mapping=None, task_type="CAUSAL_LM"), "adapter_model.safetensors": weights},
        "sentence_transformers": {"modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]).encode(), "1_Pooling/config.json": j(word_embedding_dimension=4, pooling_mode_mean_tokens=True), "config.json": bert, "model.safetensors": weights, "sentence_bert_config.json": j(max_seq_length=256, do_lower_case=False)},
        "diffusers": {"model_index.json": j(_class_name="StableDiffusionPipeline", _diffusers_version="0.30.0", unet=["diffusers", "UNet2DConditionModel"], scheduler=["diffusers", "DDIMScheduler"], safety_checker=[None, None]), "unet/config.json": j(_class_name="UNet2DConditionModel", sample_size=8), "unet/diffusion_pytorch_model.safetensors": weights, "scheduler/scheduler_config.json": j(_class_name="DDIMScheduler", beta_start=0.00085, clip_sample=False)},
        "vision": {"config.json": j(architectures=["ViTForImageClassification"], model_type="vit", image_size=32), "preprocessor_config.json": j(image_processor_type="ViTImageProcessor", image_mean=[0.5] * 3, size={"height": 32, "width": 32}, resample=2), "model.safetensors": weights},
        "whisper": {"config.json": j(model_type="whisper", d_model=8, suppress_tokens=[1, 2]), "normalizer.json": j(colour="color", grey="gray"), "added_tokens.json": j(**{"<|de|>": 50261}), "model.safetensors": weights},
        "mlflow_xgboost": {"MLmodel": MLMODEL.encode(), "conda.yaml": CONDA.encode(), "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==24.0\ndependencies:\n- -r requirements.txt\n", "requirements.txt": b"mlflow==3.1.0\nxgboost==3.0.0\n", "model.json": tiny_booster()},
        "training": {"params.yaml": b"seed: 1\ntrain: &t {lr: 1.0e-3, steps: 10}\neval: {<<: *t, batch: 8}\ndate: 2026-01-02\n", "metrics.json": j(auc=0.9, confusion=[[3, 1], [0, 4]]), "trainer_state.json": j(global_step=3, log_history=[{"loss": 0.1, "step": 1}])},
        "words": {"vocab.txt": b"os\nsystem\neval\nexec\nimport\n__globals__\n", "labels.txt": "Äpfel\nBirnen\n".encode(), "features.csv": b"name,weight\na,0.5\nb,1.5\n"},
    }  # fmt: skip
    for name, files in folders.items():
        yield name, files, "folder"
    yield "sections", {"config.yaml": b"defaults:\n  - _self_\n  - model: small\noptimizer:\n  name: adamw\n  betas: [0.9, 0.999]\n"}, "yaml"  # fmt: skip
    yield "card", {"model_card.json": j(name="Modell", owners=["Team"], limits="keine", metrics=[{"name": "f1", "value": 0.8}])}, "json"  # fmt: skip
    merged = j(version="1.0", model={"type": "BPE", "vocab": {"os": 0, "system": 1, "eval": 2, "__import__": 3, "subprocess": 4, "o": 5, "s": 6}, "merges": ["o s"]}, added_tokens=[])  # fmt: skip
    yield "vocabulary", {"tokenizer.json": merged}, "json"
    yield "dependencies", {"requirements.txt": b"numpy==2.0.0\nscikit-learn==1.5.0 ; python_version >= '3.10'\n# pinned by hand\ntorch==2.9.0\n"}, "text"  # fmt: skip


def upstream(rng: np.random.Generator) -> Iterator[Row]:
    """What other scanners keep as their harmless examples, written anew."""
    for p in range(6):
        value = {"a": [0, 1.5, "os.system('x')", b"posix"], "b": (None, {"c"})}
        yield f"benign_v{p}.pkl", {"a.pkl": pickle.dumps(value, p)}, "pickle"
    held = stored(lambda o: torch.save({"w": torch.zeros(2)}, o))
    yield "pytorch_model.bin", {"pytorch_model.bin": held}, "torchsafe"
    out = io.BytesIO()
    array = stored(lambda o: np.save(o, np.zeros(3)))
    parts = {"data/table.csv": b"a,b\n1,2\n", "config.json": b'{"a": 1}', "weights.npy": array, "readme.txt": b"text"}  # fmt: skip
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in parts.items():
            made.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), data)
    yield "archive.zip", {"archive.zip": out.getvalue()}, "archive"
    yield "int_array.npy", {"a.npy": stored(lambda o: np.save(o, np.arange(9)))}, "numpy"
    mixed = np.array([1, "b", [3]], dtype=object)
    yield "object_array.npy", {"a.npy": stored(lambda o: np.save(o, mixed, allow_pickle=True))}, "numpy"  # fmt: skip
    layers = [{"w": rng.normal(size=(2, 2)).tolist(), "act": "relu"}] * 3
    yield "nested_structure.pkl", {"a.pkl": pickle.dumps({"layers": layers, "meta": {"tags": {"x", "y"}}}, 4)}, "pickle"  # fmt: skip
    for name in ("alternating", "phi", "items"):
        yield f"{name}_chat.json", {"chat.json": j(model_type="llama", chat_template=CHATS[name])}, "template"  # fmt: skip
        yield f"{name}.j2", {f"{name}.j2": CHATS[name].encode()}, "jinja"
    greeting = b"name: greet\ntemplate: |\n  Hello {{ name }}, you have {{ items | length }} items.\n  {% for i in items %}- {{ i }}\n  {% endfor %}\n"
    yield "prompt.yaml", {"prompt.yaml": greeting}, "yaml"


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    tables = (("templates", templates()), ("configurations", configs()), ("U harmless examples", upstream(rng)))  # fmt: skip
    for category, rows in tables:
        for name, files, how in rows:
            yield Loaded(category, name, files, how)
