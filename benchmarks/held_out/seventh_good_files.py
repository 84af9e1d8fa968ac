"""Round 7, harmless: configurations, layouts, tokenizers, templates and upstream-like files."""

import io
import json
import pickle  # noqa: TID251 - written, never read
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from held_out import Sample, one
from held_out.seventh_templates import gguf, llama


def doc(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def weights() -> bytes:
    import safetensors.numpy

    return safetensors.numpy.save({"embeddings.weight": np.ones((4, 2), "f4")}, {"format": "pt"})


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": 0,
            "content": "[UNK]",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    ],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "NFKC"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        ],
    },
    "pre_tokenizer": {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    },
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    },
    "decoder": {"type": "ByteLevel"},
    "model": {
        "type": "BPE",
        "unk_token": "[UNK]",
        "vocab": {"[UNK]": 0, "a": 1, "b": 2, "ab": 3, "import": 4, "eval": 5, "os": 6},
        "merges": [["a", "b"]],
    },
}


def configs() -> Iterator[Sample]:
    bert = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 32,
        "id2label": {"0": "NEG", "1": "POS"},
        "torch_dtype": "float32",
        "transformers_version": "4.50.0",
    }
    yield Sample(
        "G_config",
        "bert_layout",
        {
            "config.json": doc(bert),
            "model.safetensors": weights(),
            "tokenizer.json": doc(TOKENIZER),
            "vocab.txt": b"[PAD]\n[UNK]\nthe\n##ing\n",
            "tokenizer_config.json": doc(
                {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
            ),
            "special_tokens_map.json": doc({"unk_token": "[UNK]"}),
            "README.md": b"---\nlicense: mit\ntags:\n- text-classification\n---\n# A model\n\n```python\nfrom transformers import pipeline\n```\n",
            ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        },
    )
    yield Sample(
        "G_config",
        "sharded_layout",
        {
            "config.json": doc(
                {
                    "model_type": "llama",
                    "architectures": ["LlamaForCausalLM"],
                    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
                    "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128},
                }
            ),
            "model-00001-of-00002.safetensors": weights(),
            "model-00002-of-00002.safetensors": weights(),
            "model.safetensors.index.json": doc(
                {
                    "metadata": {"total_size": 64},
                    "weight_map": {"embeddings.weight": "model-00001-of-00002.safetensors"},
                }
            ),
            "generation_config.json": doc(
                {"do_sample": True, "temperature": 0.6, "eos_token_id": [1, 2]}
            ),
        },
    )
    yield Sample(
        "G_config",
        "sentence_transformer",
        {
            "modules.json": doc(
                [
                    {
                        "idx": 0,
                        "name": "0",
                        "path": "",
                        "type": "sentence_transformers.models.Transformer",
                    },
                    {
                        "idx": 1,
                        "name": "1",
                        "path": "1_Pooling",
                        "type": "sentence_transformers.models.Pooling",
                    },
                ]
            ),
            "1_Pooling/config.json": doc(
                {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}
            ),
            "config_sentence_transformers.json": doc(
                {"prompts": {"query": "query: "}, "similarity_fn_name": "cosine"}
            ),
            "config.json": doc(bert),
            "model.safetensors": weights(),
        },
    )
    yield Sample(
        "G_config",
        "diffusers_layout",
        {
            "model_index.json": doc(
                {
                    "_class_name": "StableDiffusionPipeline",
                    "_diffusers_version": "0.30.0",
                    "scheduler": ["diffusers", "DDIMScheduler"],
                    "unet": ["diffusers", "UNet2DConditionModel"],
                    "safety_checker": [None, None],
                }
            ),
            "scheduler/scheduler_config.json": doc(
                {"_class_name": "DDIMScheduler", "beta_start": 0.00085}
            ),
            "unet/config.json": doc({"_class_name": "UNet2DConditionModel", "sample_size": 64}),
            "unet/diffusion_pytorch_model.safetensors": weights(),
        },
    )
    yield Sample(
        "G_config",
        "lora_adapter",
        {
            "adapter_config.json": doc(
                {
                    "peft_type": "LORA",
                    "base_model_name_or_path": "org/base",
                    "r": 8,
                    "lora_alpha": 16,
                    "target_modules": ["q_proj", "v_proj"],
                    "task_type": "CAUSAL_LM",
                    "auto_mapping": None,
                }
            ),
            "adapter_model.safetensors": weights(),
        },
    )
    yield Sample(
        "G_config",
        "mlflow_onnx",
        {
            "MLmodel": b"artifact_path: model\nflavors:\n  onnx:\n    data: model.onnx\n    onnx_version: 1.18.0\n    providers:\n    - CPUExecutionProvider\n  python_function:\n    data: model.onnx\n    loader_module: mlflow.onnx\n    python_version: 3.11.7\nmodel_uuid: 0123456789abcdef0123456789abcdef\nutc_time_created: '2026-01-02 03:04:05.000000'\n",
            "python_env.yaml": b"python: 3.11.7\nbuild_dependencies:\n- pip==24.0\ndependencies:\n- -r requirements.txt\n",
            "requirements.txt": b"mlflow==3.1.0\nonnx==1.18.0\nnumpy==2.2.0\n",
            "conda.yaml": b"channels:\n- conda-forge\ndependencies:\n- python=3.11.7\n- pip<=24.0\n- pip:\n  - mlflow==3.1.0\nname: mlflow-env\n",
        },
    )
    yield one(
        "G_config",
        "preprocessor_config",
        ".json",
        doc(
            {
                "image_processor_type": "ViTImageProcessor",
                "image_mean": [0.5, 0.5, 0.5],
                "size": {"height": 224, "width": 224},
                "resample": 2,
            }
        ),
    )
    yield one(
        "G_config",
        "requirements_hashed",
        ".txt",
        b"numpy==2.2.0 \\\n    --hash=sha256:"
        + b"ab" * 32
        + b"\nscipy==1.15.0 ; python_version >= '3.10' \\\n    --hash=sha256:"
        + b"cd" * 32
        + b"\n",
    )
    yield one(
        "G_config",
        "training",
        ".yaml",
        b"# one run\nmodel:\n  name: resnet18\n  layers: &l [2, 2, 2, 2]\n  again: *l\noptim: {lr: 1.0e-3, betas: [0.9, 0.999]}\nnotes: |\n  import of the data was slow;\n  eval on the test set\nseed: 0x10\n",
    )
    yield one(
        "G_config",
        "dvc",
        ".yaml",
        b"stages:\n  train:\n    deps: [data.csv]\n    outs: [model.onnx]\n    params: [lr]\n",
    )
    yield one("G_config", "tokenizer", ".json", doc(TOKENIZER))
    yield one(
        "G_config",
        "unigram_tokenizer",
        ".json",
        doc(
            {
                **TOKENIZER,
                "model": {
                    "type": "Unigram",
                    "unk_id": 0,
                    "vocab": [["<unk>", 0.0], ["▁system", -3.2], ["▁", -2.0]],
                    "byte_fallback": False,
                },
            }
        ),
    )
    yield one(
        "G_config",
        "vocab",
        ".json",
        doc({"<|endoftext|>": 0, "Ġthe": 1, "__import__": 2, "exec(": 3, "{{": 4}),
    )
    yield one("G_config", "merges", ".txt", "#version: 0.2\nĠ t\nh e\nĠt he\n".encode())
    yield one(
        "G_config",
        "trainer_state",
        ".json",
        doc(
            {
                "best_metric": 0.9,
                "epoch": 3.0,
                "log_history": [{"loss": 1.2, "step": 10}, {"eval_loss": 1.0, "step": 10}],
            }
        ),
    )
    yield one(
        "G_config", "params", ".json", doc({"lr": 0.1, "nested": {"a": [1, None, True, 1e-9]}})
    )
    yield one("G_config", "metrics", ".csv", b"epoch,loss,acc\n1,0.5,0.8\n2,0.4,0.85\n")


CHATS = {
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}",
    "tools": "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson(indent=2) }}{%- endfor %}{{- '</tools>' }}{%- endif %}{%- set ns = namespace(last=none, n=0) %}{%- for m in messages %}{%- set ns.n = ns.n + 1 %}{%- if m.tool_calls is defined and m.tool_calls is iterable %}{%- for c in m.tool_calls %}{{- c.function.name ~ ': ' ~ (c.function.arguments | tojson) }}{%- endfor %}{%- elif m.content is string %}{{- m.content.strip() }}{%- else %}{%- for part in m.content if part.type == 'text' %}{{- part.text }}{%- endfor %}{%- endif %}{%- endfor %}",
    "think": "{%- macro render(m, keep=false) -%}{%- if '</think>' in m.content and not keep -%}{{ m.content.split('</think>')[-1].lstrip('\n') }}{%- else -%}{{ m.content }}{%- endif -%}{%- endmacro -%}{%- for m in messages[::-1] | reverse -%}{{ '[' ~ m.role | upper ~ ']' ~ render(m, loop.last) }}{%- endfor -%}",
    "dated": "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{{ 'Today: ' + date_string }}{% for m in messages %}{{ m | items | list | length }}{% endfor %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content.replace('\\n', ' ') }}{% endif %}{% endfor %}",
    "selected": "{% set system = messages | selectattr('role', 'equalto', 'system') | map(attribute='content') | list %}{{ system | join('\n') }}{% for m in messages | rejectattr('role', 'equalto', 'system') %}{{ '%s: %s' | format(m.role, m.content) }}{{ '\n' if not loop.last else '' }}{% endfor %}",
}


def templates() -> Iterator[Sample]:
    for at, (name, body) in enumerate(CHATS.items()):
        yield one(
            "G_template",
            name,
            ".gguf",
            gguf(
                llama(
                    **{"tokenizer.chat_template": body, "tokenizer.ggml.scores": [0.0, 1.0, -1.5]}
                ),
                version=3 if at % 2 else 2,
            ),
        )
        if at % 2:
            yield one("G_template", f"{name}_chat_template", ".jinja", body.encode())
        else:
            files = {
                "tokenizer_config.json": doc(
                    {
                        "chat_template": [
                            {"name": "default", "template": body},
                            {"name": "rag", "template": CHATS["selected"]},
                        ],
                        "tokenizer_class": "PreTrainedTokenizerFast",
                    }
                )
            }
            yield Sample("G_template", f"{name}_tokenizer_config", files)
    yield one(
        "G_template", "processor_chat_template", ".json", doc({"chat_template": CHATS["zephyr"]})
    )
    yield one(
        "G_template",
        "plain_gguf",
        ".gguf",
        gguf(
            {
                "general.architecture": "bert",
                "general.quantization_version": 2,
                "bert.block_count": 1,
            }
        ),
    )


def upstream() -> Iterator[Sample]:
    import torch

    for version in range(6):
        yield one(
            "U_picklescan",
            f"benign_v{version}",
            ".pkl",
            pickle.dumps(
                {"list": [0, 1, 2], "text": "os.system is only text here", "none": None}, version
            ),
        )
    box = io.BytesIO()
    torch.save({"layer.weight": torch.ones(3, 2), "layer.bias": torch.zeros(3)}, box)
    yield one("U_picklescan", "new_pytorch_model", ".bin", box.getvalue())
    box = io.BytesIO()
    np.save(box, np.array([["a", 1], ["b", None]], dtype=object), allow_pickle=True)
    yield one("U_picklescan", "object_table", ".npy", box.getvalue())
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", zipfile.ZIP_DEFLATED) as safe:
        for name, data in {
            "model/config.json": b'{"a": 1}',
            "model/weights.npy": npy(),
            "model/data.pkl": pickle.dumps([1, 2]),
        }.items():
            safe.writestr(zipfile.ZipInfo(name), data)
    yield one("U_modelaudit", "safe_model", ".zip", box.getvalue())
    for name, body in {
        "simple_roles": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "conditional": "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}You are helpful.{% endif %}",
        "special_tokens": "{{ bos_token }}{% for m in messages %}[INST] {{ m.content | trim }} [/INST]{{ eos_token }}{% endfor %}",
    }.items():
        yield one(
            "U_modelaudit",
            f"jinja_{name}",
            ".json",
            doc({"chat_template": body, "bos_token": "<s>", "eos_token": "</s>"}),
        )
    yield one(
        "U_modelaudit",
        "model_config",
        ".yaml",
        b'model_name: m\nchat_template: "{% for m in messages %}{{ m.content }}{% endfor %}"\nmax_length: 512\n',
    )
    yield one(
        "U_modelaudit", "prompt", ".j2", b"Hello {{ name | default('you') }}! {# a remark #}\n"
    )
    yield one(
        "U_modelaudit",
        "nested_structure",
        ".pkl",
        pickle.dumps({"a": {"b": [(1, {"c": {2, 3}})]}, "weights": [[0.1] * 4] * 3}),
    )
    yield one(
        "U_modelaudit",
        "signature",
        ".json",
        doc({"inputs": [{"type": "double", "name": "x"}], "outputs": [{"type": "long"}]}),
    )


def npy() -> bytes:
    box = io.BytesIO()
    np.save(box, np.eye(3))
    return box.getvalue()
