"""One file, several readers: what another reader finds in it is judged, or refused."""

import io
import json
import struct
import tarfile

import h5py
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.unit.scan.test_held_out import OLD_EVIL, ids
from vallum.scan import ScanVerdict, scan_bytes


def tar_header(name: bytes, size: int, kind: bytes = b"0", fill: bytes = b"\0") -> bytes:
    """Return a header as tar wrote it before it had a magic number."""
    head = name.ljust(100, fill) + b"0000644 " + b"0000000 " * 2 + b"%011o " % size
    head += b"00000000000 " + b" " * 8 + kind + fill * 100 + b" " * 8
    raw = bytearray(head + fill * (512 - len(head)))
    raw[148:156] = b"%06o  " % sum(raw)
    return bytes(raw)


def tar_of(name: bytes, data: bytes, fill: bytes = b"\0") -> bytes:
    pax = b"%d path=%b\n" % (len(name) + 9, name)
    end = b"\n" if fill == b" " else b"\0"
    parts = [(b"x", pax), (b"0", data)]
    return b"".join(
        tar_header(b"# notes", len(one), kind, fill) + one + end * (-len(one) % 512)
        for kind, one in parts
    )


def safetensors(body: bytes, header: int) -> bytearray:
    """Return a file of one tensor that begins at `header`."""
    about = {"t": {"dtype": "U8", "shape": [len(body)], "data_offsets": [0, len(body)]}}
    text = json.dumps({"__metadata__": {"a": "a" * 600}, **about}).encode()
    return bytearray(struct.pack("<Q", header - 8) + text.ljust(header - 8) + body)


def test_a_text_that_is_a_tar_without_a_magic_number_is_refused() -> None:
    data = b"".join(
        tar_of(name, OLD_EVIL if name == b"pickle" else b"N.", b" ")
        for name in (b"storages", b"tensors", b"pickle")
    )
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["storages", "tensors", "pickle"]
    assert "file.polyglot" in ids(data)


def test_a_tensor_file_that_is_a_tar_is_refused() -> None:
    data = safetensors(tar_of(b"pickle", OLD_EVIL), 4096)
    data[100:156] = tar_header(b"", 4096 - 512)[100:156]
    data[156:157], data[329:500] = b"0", b" " * 171
    data[148:156] = b" " * 8
    data[148:156] = b"%06o  " % sum(data[:512])
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive:
        assert "pickle" in archive.getnames()
    assert ids(bytes(data)) == {"file.polyglot"}
    assert scan_bytes("x", bytes(safetensors(b"abc", 4096))).verdict is ScanVerdict.CLEAN


@pytest.mark.parametrize("at", [1024, 4096])
def test_numbers_that_hold_an_hdf5_file_where_its_reader_looks_are_refused(at: int) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Lambda", "config": {}})
    inner = buffer.getvalue()
    data = bytes(safetensors(inner, at))
    with h5py.File(io.BytesIO(data)) as file:
        assert "Lambda" in str(file.attrs["model_config"])
    assert ids(data) == {"file.polyglot"}
    assert ids(bytes(safetensors(b"\0" + inner, at))) == set()  # nobody looks there
    stored = io.BytesIO()
    np.save(stored, np.frombuffer(b"\0" * (at - 128) + inner, dtype="u1"))
    assert ids(stored.getvalue()) == {"file.polyglot"}


def test_a_member_of_a_tar_may_stand_where_an_hdf5_file_may() -> None:
    model, data = io.BytesIO(), io.BytesIO()
    with h5py.File(model, "w") as file:
        file["w"] = np.zeros(3)
    with tarfile.open(fileobj=data, mode="w") as archive:
        entry = tarfile.TarInfo("weights.h5")
        entry.size = len(model.getvalue())
        archive.addfile(entry, io.BytesIO(model.getvalue()))
    assert data.getvalue()[512:520] == b"\x89HDF\r\n\x1a\n"
    assert ids(data.getvalue()) == set()


def test_a_storage_of_torch_that_is_an_hdf5_file_is_refused() -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(4096, dtype=torch.uint8)}, buffer)
    data = bytearray(buffer.getvalue())
    assert ids(bytes(data)) == set()
    start = data.index(b"\0" * 4096)
    assert start < 2048
    data[2048:2056] = b"\x89HDF\r\n\x1a\n"
    assert "file.polyglot" in ids(bytes(data))


def test_a_sound_that_tensorflow_reads_as_a_graph_is_refused_by_its_name() -> None:
    # "RI" is a field that no graph has, with 73 bytes: a buffer's reader skips it.
    node = b"\x0a\x01n\x12\x09WriteFile"
    graph = b"\x12" + bytes([len(node) + 4]) + b"\x12" + bytes([len(node) + 2]) + b"\x0a"
    graph += bytes([len(node)]) + node
    body = b"\0" * 31 + graph
    sound = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    sound += b"data" + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    data = b"RIFF" + struct.pack("<I", len(sound) + 4) + b"WAVE" + sound
    assert ids(data, "saved_model.wav") == set()
    assert ids(data, "saved_model.pb") == {"file.polyglot"}


TARGET = "_target_: os.system\ncommand: id\n"
PAD = '"pad": [' + ", ".join(['"' + "x y " * 250 + '"'] * 2_200) + "]"


@pytest.mark.parametrize(
    "text",
    [
        "1: x\n" + TARGET,
        "on: x\n~: y\n" + TARGET,
        "a: 1\na: 2\n" + TARGET,
        "_target_: plain\n" + TARGET,
        "d: 2001-13-45\n" + TARGET,
        "=: x\n<<: y\n" + TARGET,
        "? [a, b]\n: 1\n" + TARGET,
        "? {_target_: os.system}\n: 1\n",
        "a: 1\n---\n" + TARGET,
        TARGET + "---\na: 1\n",
        TARGET + "...\n% no directive\n",
        "_target_:\tos.system\n",
        "a: 1\n---\n%TAG !p! tag:yaml.org,2002:py\n---\n!p!thon/object/apply:os.system [id]\n",
        "- {a: 1\n" + TARGET,  # it does not end
        'a: [1\n"_targ\\x65t_": os.system\n',
        "\ufeff\ufeff" + TARGET,
        "a: 1\n---\n\ufeff" + TARGET,
        '[a]\n_target_ = "os.system"\n',
        "trust_remote_code = true\n",
        "TRUST_REMOTE_CODE=true\n",
        "trust-remote-code: true\n",
        "[handler_a]\nclass=StreamHandler\nargs=(sys.stdout,)\n",
        '{"code": "a.b"}\n' * 250 + '{"trust_remote_code": true}\n',
        "# a comment\n" * 400_000 + 'node { op: "WriteFile" }\n',
        'node: {op: "Const"}\n' + TARGET,
        'node: {op: "Const"}\nimport os\n',
        'node { op: "Const" }\nnode { op: # a comment\n "PyFunc" }\n',
        'saved_model_schema_version: 1 meta_graphs { graph_def { node { op: "WriteFile" } } }',
        f'<PMML version="4.4: \n{TARGET}#" xmlns="http://www.dmg.org/PMML-4_4">\n#</PMML>',
        f'<svg xmlns="http://www.w3.org/2000/svg" id="x: \n{TARGET}#">\n#</svg>',
        f'<a b="x: \n{TARGET}#">\n#</a>',
        '// opened by an editor\n{"postCreateCommand": "id"}\n',
        '{ // opened by an editor\n "postCreateCommand": "id", /* and */ }\n',
        '\ufeff/* a */ {"auto_map": {"AutoModel": "x.Y"}}',
        "import \uff4f\uff53; \uff4f\uff53.\uff53\uff59\uff53\uff54\uff45\uff4d('id')\n",
        "\U0001d41e\U0001d42f\U0001d41a\U0001d425('id')\n",
        'layer { type: "Python" python_param { module: "x" layer: "Y" } }',
    ],
)
def test_what_another_reader_of_a_text_finds_is_refused(text: str) -> None:
    assert ids(text.encode()) - {"text.markup"}


@pytest.mark.parametrize(
    "text",
    [
        "_target_",
        "a: 1\na: 2\n1: x\n---\nb: [c]\n",
        "base: &b {a: 1, c: 2}\nrun: {<<: *b, c: 3}\n",
        'model = load("x",\n    trust_remote_code=True,\n)\n',
        "trust_remote_code = false\nauto_map =\n",
        "custom_pipelines: {}\nkey:\t1\n",
        'node { name: "a" op: "Const" }\n',
        '// a\n{"a": "// no comment", "b": [1, 2,], }\n',
        "Das \u00c4ndern (\uff11) der Datei: \uff21\uff22\n",
        "loader_module = mlflow.sklearn\n",
    ],
)
def test_texts_that_only_look_so_pass(text: str) -> None:
    assert ids(text.encode()) == set()


@pytest.mark.parametrize(
    "text",
    [
        '{"target": "os.system", "params": {%s}}',
        '{"_class_name": "X", "unet": ["evil", "Y"], %s}',
        '{"types": {"a": "evil.x.Y"}, "structure": {"a": ["a"]}, %s}',
        '{"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}, %s}',
        '{"__loader__": "FunctionNode", "content": {"module_path": "os", "function": "id"}, %s}',
        '{\n"class_name": "function", "module": "os", "config": "system", %s,\n"s": "'
        + "x" * 1_100_000
        + '"}',
        '{"left_children": [1, -1, -1], "right_children": [9, -1, -1], %s}',
    ],
)
def test_what_a_large_document_says_of_itself_is_judged(text: str) -> None:
    assert ids((text % PAD).encode())


def test_a_large_document_that_says_nothing_is_clean() -> None:
    node = '"__loader__": "DictNode", "__class__": "dict", "__module__": "builtins"'
    text = '"s": "' + "x" * 1_100_000 + '"'
    assert scan_bytes("x", f"{{{text}, {PAD}}}".encode()).verdict is ScanVerdict.CLEAN
    assert scan_bytes("x", f'{{{node}, "content": {{}}, {PAD}}}'.encode()).exit_code == 0


@pytest.mark.parametrize(
    "value",
    [
        {"_component_": "os.system"},
        {"__kind__": "instance", "class": "os.system", "args": ["id"]},
        {"__kind__": "instance", "class": "gluonts.shell.util.subprocess.Popen"},
        {"name": "x", "implementation": "evil.Model"},
        {"worker-extension-cls": "evil.Class"},
        {"tool-parser-plugin": "plugin"},
        {"service": "evil:Service"},
        {"version": 1, "handlers": {"a": {"()": "os.system", "command": "id"}}},
        {"_target_": "torch.nn.modules.module.os.system"},
        {"_target_": "torch.optim.load"},
        {"code": "evil.module"},
        {"loader_module": "mlflow.sklearn", "code": "folder"},
        {"flavors": {"sklearn": {"code": "folder"}}},
        {"custom_imports": {"imports": ["evil"]}},
        {"activation_function": "evil.module.Name"},
        {"sbert_ce_default_activation_function": "os.abort"},
        {"types": {"a": "evil.module.Class"}, "structure": {"a": ["a"]}},
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": {"text_config": "somebody/kernel"}},
        {"_class_name": "X", "unet": ["evil", "Y", {}]},
        {"_class_name": "X", "unet": ["stable_diffusion", "os.system"]},
        {"lc": 1, "type": "constructor", "id": ["langchain", "llms", "X"], "kwargs": {}},
        {"scripts": {"install": "node x.js"}},
        {"applications": [{"import_path": "evil:app"}]},
        {"a": "gASVHQAAAAAAAACMBXBv\nc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="},
        {"a": "data:x;base64,gASVHQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="},
        {"a": "{{ 1 }} gASVHQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg=="},
    ],
)
def test_settings_by_which_a_library_imports_are_refused(value: object) -> None:
    assert ids(json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"activation_function": "torch.nn.modules.activation.Tanh"},
        {"activation_function": "gelu_new", "attn_implementation": "flash_attention_2"},
        {
            "_class_name": "X",
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        },
        {"type": "sentence_transformers.sparse_encoder.models.SpladePooling"},
        {"type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling"},
        {"types": {"a": "sentence_transformers.models.Pooling"}, "structure": {}},
        {"tokenizer_class": "sentence_transformers.models.tokenizer.WhitespaceTokenizer"},
        {"types": {"a": "x.y"}},
        {"formatters": {"a": {"()": "uvicorn.logging.DefaultFormatter"}}},
        {"__kind__": "instance", "class": "gluonts.torch.distributions.studentT.StudentTOutput"},
        {"name": "x", "implementation": "mlserver_sklearn.SKLearnModel"},
        {"worker_cls": "auto", "service": "example.org:8080", "tool_parser_plugin": ""},
        {"type": "1.0"},
        [{"code": "en"}, {"code": "not-found"}, {"code": {"type": "string"}}],
        {"_target_": "torch.optim.AdamW", "_partial_": True},
        {"flavors": {"sklearn": {"code": None}}},
    ],
)
def test_settings_that_name_a_librarys_own_pass(value: object) -> None:
    assert ids(json.dumps(value).encode()) == set()


LICENSE = b"Copyright (c) 1992-2013 The University of Tennessee and The University\n" + b" " * 22


@pytest.mark.parametrize(
    "text", [LICENSE + b"of Tennessee Research Foundation.\n", b"Nr    0 a text\n"]
)
def test_a_text_whose_letters_are_a_far_place_in_a_pickles_memo_passes(text: bytes) -> None:
    assert ids(text) == set()


@pytest.mark.parametrize("start", [b"", b"Nr    0", b"Np99999999999\n0"])
def test_a_far_place_in_a_pickles_memo_hides_nothing_behind_it(start: bytes) -> None:
    for old in (OLD_EVIL, b"cevil\nx\n)R."):
        assert ids(start + old) & {"pickle.dangerous-name", "pickle.unknown-name"}
    assert "pickle.malformed" in ids(b"\x80\x02" + start + b"N.") or not start


def test_a_model_card_may_have_what_yaml_takes_for_a_tag() -> None:
    card = b"---\nlicense: mit\n---\nNote: a\nuse: !important\n"
    assert scan_bytes("README.md", card).exit_code == 0
    assert scan_bytes("config.yaml", card).exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        """a,b\nimport os;f"{os.system('id')}",2\n1x,2\n""",
        '<svg xmlns="http://www.w3.org/2000/svg"><!--\nimport evil\n--></svg>',
        '/*\nimport\tevil\n*/ {"a": 1}',
        "\ufeffimport evil",
    ],
)
def test_a_file_of_paths_has_no_line_that_python_runs(text: str) -> None:
    assert "file.executable-line" in ids(text.encode(), "model.PTH")
    assert "file.executable-line" not in ids(text.encode(), "model.txt")


def test_markup_with_a_template_is_markup() -> None:
    assert "text.markup" in ids(b'<java class="java.beans.XMLDecoder">{{ 1 }}</java>')
    assert ids(b"<s>{{ x }}</s>\n<s>{{ y }}") == ids(b"<s>{{ x }}</s>") == set()


@pytest.mark.parametrize("name", [".pdbrc", "a/.Rprofile", "run.command", "x.hta"])
def test_a_name_by_which_a_program_is_run_is_refused(name: str) -> None:
    assert ids(b"words", name) == {"file.executable-name"}
    assert ids(b"words", name + ".txt") == set()


def test_a_list_of_tokens_may_begin_as_markup_does() -> None:
    assert (
        scan_bytes("lang/tokens.txt", "<blk> 0\n<sos/eos> 1\n\u2581THE 2\n".encode()).exit_code == 0
    )


def test_a_tensor_of_onnx_is_numbers_and_nothing_else() -> None:
    tensor = numpy_helper.from_array(np.zeros((2, 3), dtype="f4"), "input")
    data = tensor.SerializeToString()
    assert scan_bytes("input_0.pb", data).verdict is ScanVerdict.CLEAN
    assert (
        scan_bytes("0.pb", numpy_helper.from_array(np.array(1.5)).SerializeToString()).exit_code
        == 0
    )
    assert ids(data[:-1]) and ids(data + b"\x22\x00")  # noqa: PT018 - cut short, and more
    tensor.dims[0] = 3
    assert ids(tensor.SerializeToString())
    # To a reader of models, what are whole numbers here is a graph.
    graph = helper.make_tensor("x", TensorProto.INT64, [3], [7, 8, 9])
    assert ids(graph.SerializeToString())
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert ids(tensor.SerializeToString())
