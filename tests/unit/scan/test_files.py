import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import time
import zipfile
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from safetensors.numpy import save

from vallum.base.bounds import ArchiveBounds
from vallum.base.errors import InputError
from vallum.scan import CodeRules, ScanVerdict, count_files, scan_bytes, scan_path

EVIL = b"cos\nsystem\n(S'echo'\ntR."
PLAIN = b"\x80\x04]."
CORPUS = Path(__file__).parents[3] / "../shared/data/scan"


def verdict(data: bytes, name: str = "x") -> ScanVerdict:
    return scan_bytes(name, data).verdict


def ids(data: bytes, name: str = "x") -> list[str]:
    return [finding.id for finding in scan_bytes(name, data).files[0].findings]


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def model(domain: str = "", *, external: bool = False) -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    if external:
        weight.data_location = TensorProto.EXTERNAL
        place = weight.external_data.add()
        place.key, place.value = "location", "../../etc/passwd"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Add", ["x", "w"], ["y"], domain=domain)
    made = helper.make_model(helper.make_graph([node], "g", [value], [out], [weight]))
    return onnx.ModelProto.SerializeToString(made)


TENSORS = save({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.int8)})


def test_formats_that_cannot_carry_code_are_clean() -> None:
    for data in (TENSORS, model(), npy(np.ones(3)), b'{"lr": 0.1}', b"a,b\n1,2\n", b"lr: 0.1\n"):
        assert verdict(data) is ScanVerdict.CLEAN


def test_the_format_is_told_by_bytes_whatever_the_name() -> None:
    assert verdict(EVIL, "model.safetensors") is ScanVerdict.MALICIOUS
    assert scan_bytes("model.pkl", TENSORS).files[0].format == "safetensors"


@pytest.mark.parametrize("change", [-1, 1])
def test_safetensors_must_end_with_their_last_tensor(change: int) -> None:
    data = TENSORS + b"x" if change > 0 else TENSORS[:-1]
    assert ids(data) == ["format.safetensors.size"]


def test_onnx_with_foreign_operators_or_files_is_suspicious() -> None:
    assert "onnx.custom-operator" in ids(model("evil.ops"))
    assert "onnx.external-data" in ids(model(external=True))


@pytest.mark.parametrize("module", [gzip, bz2, zlib, lzma], ids=lambda module: module.__name__)
def test_compressed_streams_are_looked_into(module: ModuleType) -> None:
    pack = module.compress
    assert verdict(pack(EVIL)) is ScanVerdict.MALICIOUS
    assert verdict(pack(PLAIN)) is ScanVerdict.DATA_LIKE
    assert verdict(pack(PLAIN) + b"evil") is ScanVerdict.SUSPICIOUS
    assert verdict(pack(PLAIN)[:-3]) is ScanVerdict.SUSPICIOUS


def test_a_compression_bomb_stops_at_the_ratio() -> None:
    assert ids(gzip.compress(bytes(8 << 20))) == ["archive.bomb"]


def test_members_are_found_by_name() -> None:
    inner = zip_of({"deep.bin": EVIL})
    (finding,) = scan_bytes("m.zip", zip_of({"a/b.zip": inner})).files[0].findings
    assert finding.member == "a/b.zip/deep.bin"


def test_archives_nested_too_deeply_are_suspicious() -> None:
    data = EVIL
    for _ in range(4):
        data = zip_of({"a": data})
    assert "archive.too-deep" in ids(data)


def test_the_expanded_total_is_bounded_across_nested_archives() -> None:
    data = zip_of({"a": zip_of({"b": bytes(600)})})
    report = scan_bytes("x", data, archive=ArchiveBounds(max_total_bytes=1_000))
    assert "archive.too-large" in [finding.id for finding in report.files[0].findings]


def test_a_zip_behind_another_format_is_a_polyglot() -> None:
    assert "file.polyglot" in ids(PLAIN + zip_of({"a": b"x"}))


def torch(pickle: bytes, **files: bytes) -> bytes:
    members = {"m/data.pkl": pickle, "m/version": b"3\n"}
    return zip_of(members | {f"m/{key.replace('__', '/')}": v for key, v in files.items()})


STORAGE = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"
    b"X\x01\0\0\0" + b"0X\x03\0\0\0cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\n"
    b"OrderedDict\n)RtR."
)


def test_a_torch_file_passes_only_with_storages_of_the_size_it_names() -> None:
    assert verdict(torch(STORAGE, data__0=bytes([255] * 8))) is ScanVerdict.DATA_LIKE
    assert verdict(torch(STORAGE, data__0=bytes([255] * 9))) is ScanVerdict.SUSPICIOUS
    assert verdict(torch(STORAGE, data__1=bytes([255] * 8))) is ScanVerdict.SUSPICIOUS
    assert verdict(torch(EVIL)) is ScanVerdict.MALICIOUS


def test_torchscript_may_only_use_its_own_operators() -> None:
    good = b"class M(Module):\n  def forward(self, x):\n    return torch.relu(x)\n"
    bad = good.replace(b"torch.relu(x)", b"torch.from_file('/etc/passwd', False, 9)")
    other = good.replace(b"torch.relu(x)", b"ops.evil.run(x)")
    hidden = zip_of({"code/__torch__.py": good})
    assert verdict(hidden) is ScanVerdict.SUSPICIOUS
    for source, wanted in ((good, 0), (bad, 1), (other, 1)):
        data = zip_of({"m/data.pkl": PLAIN, "m/code/__torch__.py": source})
        assert scan_bytes("x", data).exit_code == wanted


def test_arrays_of_objects_are_followed_as_pickles() -> None:
    assert verdict(npy(np.array([{}, None], dtype=object))) is ScanVerdict.DATA_LIKE
    header = npy(np.array([None], dtype=object))
    start = header.index(b"\n") + 1
    assert verdict(header[:start] + EVIL) is ScanVerdict.MALICIOUS
    assert "npy.size" in ids(npy(np.ones(3)) + b"x")


@pytest.mark.parametrize(
    ("config", "id_"),
    [
        ({"class_name": "Lambda", "config": {}}, "keras.code"),
        ({"class_name": "TFSMLayer", "config": {}}, "keras.code"),
        ({"class_name": "Mine", "config": {}}, "keras.unknown-class"),
        ({"class_name": "Dense", "config": {}, "module": "os"}, "keras.module"),
        ({"class_name": "Dense", "config": {"activation": "os.system"}}, "keras.function"),
        ({"class_name": "Dense", "config": {}, "registered_name": "x>y"}, "keras.custom-object"),
    ],
)
def test_a_keras_layer_within_a_layer_is_judged(config: dict[str, object], id_: str) -> None:
    outer = {"class_name": "Sequential", "config": {"layers": [config]}}
    assert id_ in ids(json.dumps(outer).encode())
    data = zip_of({"config.json": json.dumps(outer).encode(), "metadata.json": b"{}"})
    assert id_ in ids(data)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ x|attr('y') }}",
        "{{ x['\\x5f\\x5fclass'] }}",
        "{{ lipsum.globals }}",
        "{{ x['a' ~ 'b'] }}",
        "{% include 'x' %}",
        "{{ messages|map(attribute=y) }}",
        "{{ 9**999999 }}",
        "{{ unknown() }}",
        "{% set config = 1 %}{{ config }}",
        "{% if false %}{% set self = 1 %}{% endif %}{{ self }}",
        "{{ open",
        "{{ '}}' ~ lipsum }}",  # no block ends in a text
        "{{ {'a': {}} ~ lipsum }}",  # nor with a brace that belongs to it
        "{% raw %}{{ ' {% endraw %}{{ lipsum ~ ' }}",
        "{{ x ['a' + 'b'] }}",
        "{{ x" + " " * 200 + "['a' + 'b'] }}",
        "{{ x['_'[0] + 'class'] }}",
        "{{ x['y']() }}",
        "{% set dict = x['y'] %}{{ dict('id') }}",
        "{% for range in x %}{{ range('id') }}{% endfor %}",
    ],
)
def test_a_template_that_reaches_further_than_text_is_not_trusted(template: str) -> None:
    for data in (template.encode(), json.dumps({"chat_template": template}).encode()):
        assert scan_bytes("x", data).exit_code == 1


def test_a_pickle_behind_others_that_are_text_is_found() -> None:
    plain = b"Vheader\np0\n.(lp0\nI1\naI2\na."
    assert "pickle.dangerous-name" in ids(plain + b"cposix\nsystem\n(S'true'\ntR.")
    assert verdict(b"N.B. this is text\nI am.\n") is ScanVerdict.CLEAN


def test_a_line_of_a_log_excuses_no_template() -> None:
    assert scan_bytes("chat.jinja", b"[INFO] chat\n {{ lipsum.globals }}\n").exit_code == 1


def test_a_template_is_judged_in_time_that_grows_with_its_length() -> None:
    for text in ("{{" * 30_000, "{{ '" + "\\'" * 30_000, "{{ " + "[" * 60_000 + " }}"):
        assert ids(text.encode()) == ["template.malformed"]


def test_a_template_of_another_systems_lines_is_cut_before_long() -> None:
    begun = time.process_time()
    assert scan_bytes("x", b"{{a\r\nb}}" * 30_000).files[0].format == "jinja"
    assert time.process_time() - begun < 5  # each block was looked for to the end


def test_a_table_that_names_a_type_of_pickles_is_a_finding() -> None:
    for metadata in ({"x": "arrow.py_extension_type"}, {"ARROW:schema": "!"}):
        data = io.BytesIO()
        pl.DataFrame({"a": [1]}).write_parquet(data, metadata=metadata)
        assert ids(data.getvalue()) == ["parquet.malformed"]


def test_an_ordinary_chat_template_passes() -> None:
    text = (
        "{% for m in messages %}{% if m['role'] == 'user' and loop.index0 % 2 == 0 %}"
        "{{ '[INST] ' + m.content | trim + ' [/INST]' }}{% endif %}{% endfor %}"
        "{% macro text(part) %}{{ part }}{% endmacro %}{{ text('a') }}"
        "{{ messages[loop.index0 + 1]['role'] }}{{ messages[(messages | length) - 1:] }}"
    )
    assert verdict(text.encode()) is ScanVerdict.DATA_LIKE


@pytest.mark.parametrize(
    "data",
    [
        b"import os\nos.system('x')\n",
        b"#!/bin/sh\necho\n",
        b"\x7fELF\x02\x01\x01",
        b"a: !!python/object:os.system x\n",
        b'{"auto_map": {"AutoModel": "code.Model"}}',
        b"_target_: os.system\n",
        b"<?xml version='1.0'?><!DOCTYPE a><a/>",
        b"\x89HDF\r\n\x1a\n" + bytes(40),
        b"\x00\x01\x02unknown",
        b"",
    ],
)
def test_code_and_the_unknown_are_denied(data: bytes) -> None:
    assert scan_bytes("x", data).exit_code == 1


def test_a_name_that_a_loader_would_run_is_a_finding() -> None:
    assert ids(b"x = 1\n", "handler.py") == ["file.executable-name"]


def gguf(value: str, tail: bytes = b"") -> bytes:
    key, text = b"tokenizer.chat_template", value.encode()
    return (
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, len(key)) + key
        + struct.pack("<IQ", 8, len(text)) + text + tail
    )  # fmt: skip


def test_gguf_is_read_to_its_end_and_its_template_judged() -> None:
    assert verdict(gguf("{{ bos_token }}")) is ScanVerdict.DATA_LIKE
    assert verdict(gguf("{{ ''.__class__ }}")) is ScanVerdict.MALICIOUS
    assert "gguf.malformed" in ids(gguf("{{ bos_token }}", b"evil" * 20))


def skops(module: str, name: str) -> bytes:
    schema = {"__class__": name, "__module__": module, "__loader__": "ObjectNode", "content": {}}
    return zip_of({"schema.json": json.dumps(schema).encode()})


def test_skops_types_are_held_against_the_allow_list() -> None:
    assert verdict(skops("sklearn.svm._classes", "SVC")) is ScanVerdict.DATA_LIKE
    assert verdict(skops("subprocess", "Popen")) is ScanVerdict.MALICIOUS
    assert verdict(skops("mine", "Thing")) is ScanVerdict.SUSPICIOUS


def test_a_folder_is_scanned_in_order_and_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"{}")
    (tmp_path / "a.pkl").write_bytes(EVIL)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link").symlink_to("/etc/passwd")
    report = scan_path(tmp_path)
    assert [Path(file.path).name for file in report.files] == ["a.pkl", "b.json", "link"]
    wanted = [ScanVerdict.MALICIOUS, ScanVerdict.CLEAN, ScanVerdict.SUSPICIOUS]
    assert [file.verdict for file in report.files] == wanted
    assert report.exit_code == 1


@pytest.mark.parametrize("code", [None, CodeRules()], ids=["model", "code"])
def test_links_and_files_with_impossible_names_are_findings(
    tmp_path: Path, code: CodeRules | None
) -> None:
    links = {b"long": b"x" * 300, b"line": b"a\nb", b"odd": b"\xff\xfe", b"\xff": b"/etc/passwd",
             b"round": b"round", b".git": b"y" * 300}  # fmt: skip
    for name, target in links.items():
        (tmp_path / os.fsdecode(name)).symlink_to(os.fsdecode(target))
    (tmp_path / os.fsdecode(b"bad-\xfe.json")).write_bytes(b"{}")
    report = scan_path(tmp_path, code=code)
    special = {os.fsencode(Path(one.path).name) for one in report.files if one.format == "special"}
    assert special == set(links)
    assert len(report.files) == count_files(tmp_path, code=code) == len(links) + 1
    assert report.exit_code == 1
    for name in ("long", "odd", "round"):
        assert scan_path(tmp_path / name, code=code).exit_code == 1


def test_nothing_scanned_is_no_pass(tmp_path: Path) -> None:
    assert scan_path(tmp_path).exit_code == 1
    with pytest.raises(InputError):
        scan_path(tmp_path / "absent")


def test_the_machine_output_has_its_fixed_fields() -> None:
    (file,) = scan_bytes("m.pkl", EVIL).to_json()["files"]  # type: ignore[misc]
    assert file.keys() == {"path", "sha256", "format", "verdict", "findings"}
    (finding,) = file["findings"]
    assert finding.keys() == {"id", "severity", "member", "offset", "message", "atlas"}


HEADS = [b"", b"PK\x03\x04", b"\x93NUMPY\x01\0", b"GGUF\x03\0\0\0", b"\x08\x07", b"\x12\x02", b"{"]


@settings(max_examples=150)
@given(
    st.sampled_from([*HEADS, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"{L"]), st.binary(max_size=80)
)
def test_any_bytes_give_a_report(head: bytes, rest: bytes) -> None:
    assert scan_bytes("x", head + rest).files[0].format


@pytest.mark.skipif(not CORPUS.exists(), reason="the development corpus is not here")
def test_every_malicious_file_of_the_corpus_is_denied() -> None:
    rows = [json.loads(line) for line in (CORPUS / "manifest.jsonl").read_text().splitlines()]
    labels = {row["path"]: row["label"] for row in rows}
    wrong: dict[str, list[str]] = {"mal": [], "ben": []}
    with tarfile.open(CORPUS / "corpus.tar.xz") as archive:
        for info in archive:
            file = archive.extractfile(info)
            label = labels.get(info.name.removeprefix("./"))
            if file is None or label not in wrong:
                continue
            if scan_bytes(info.name, file.read()).exit_code != (label == "mal"):
                wrong[label].append(info.name)
    assert wrong["mal"] == []
    # A skops file with a class of `__main__`: refused on purpose.
    assert wrong["ben"] == ["ben/U_modelaudit/samples__pipeline.skops"]


def of_corpus(name: str) -> bytes:
    with tarfile.open(CORPUS / "corpus.tar.xz") as archive:
        for info in archive:
            if info.name.removeprefix("./") == name:
                file = archive.extractfile(info)
                assert file is not None
                return file.read()
    raise AssertionError(name)


@pytest.mark.skipif(not CORPUS.exists(), reason="the development corpus is not here")
def test_an_hdf5_file_is_walked_and_its_configuration_judged() -> None:
    data = of_corpus("ben/G_keras/dense.h5")
    assert verdict(data) is ScanVerdict.DATA_LIKE
    assert data.count(b'"Dense"') > 0
    assert "keras.unknown-class" in ids(data.replace(b'"Dense"', b'"Dance"'))
    assert "hdf5.unread" in ids(data + b"x")
    assert "hdf5.unread" in ids(data[:-1])
    for at in range(0, 2_000, 7):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        assert scan_bytes("x", bytes(changed)).files[0].format


def lz4(*blocks: bytes) -> bytes:
    head = b"\x04\x22\x4d\x18\x40\x40\xc0"
    sizes = (struct.pack("<I", len(block)) + block for block in blocks)
    return head + b"".join(sizes) + bytes(4)


def test_lz4_blocks_may_refer_to_earlier_ones() -> None:
    literals = bytes([len(EVIL) << 4 if len(EVIL) < 15 else 0xF0]) + bytes([len(EVIL) - 15]) + EVIL
    assert verdict(lz4(literals)) is ScanVerdict.MALICIOUS
    plain = bytes([0x40]) + PLAIN[:4]
    assert verdict(lz4(plain)) is ScanVerdict.DATA_LIKE
    first = bytes([0x40]) + b"\x80\x04N0"
    again = bytes([0x0F]) + struct.pack("<H", 2) + bytes([21]) + bytes([0x20]) + b"N."
    assert verdict(lz4(first, again)) is ScanVerdict.DATA_LIKE
    assert "packed.malformed" in ids(lz4(bytes([0x00, 0x09, 0x00, 0x00])))
    assert "packed.trailing-data" in ids(lz4(plain) + b"evil")
