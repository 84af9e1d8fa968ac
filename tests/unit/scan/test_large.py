"""Files too large to be held: read in pieces, with the meaning that they have as a whole."""

import json
import mmap
import os
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.formats.checksum import crc32_of
from vallum.scan import ScanVerdict, scan_bytes, scan_path, texts
from vallum.scan import large_json as module
from vallum.scan.large_json import walk_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=60,
)  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, (24 << 20) + 7])
def test_the_check_sum_of_parts_is_that_of_the_whole(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    assert crc32_of(memoryview(data)) == zlib.crc32(data)
    if size:
        (tmp_path / "x").write_bytes(data)
        with (tmp_path / "x").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert crc32_of(memoryview(mapped)) == zlib.crc32(data)


def scalars(value: object) -> list[str]:
    """Every scalar and every key, in any order."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in (key, *scalars(item))]
    if isinstance(value, list):
        return [found for item in value for found in scalars(item)]
    return [repr(value)]


@settings(max_examples=150)
@given(JSON, st.sampled_from([None, 1]), st.integers(1, 40))
def test_a_document_walked_in_small_windows_has_all_its_parts(
    value: object, indent: int | None, window: int
) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    parts: list[str] = []
    whole, strings = module._WINDOW, module._MAX_STRING
    module._WINDOW, module._MAX_STRING = window, 4096
    try:
        walk_json(
            memoryview(data),
            lambda part: parts.extend(scalars(part)),
            lambda key, _: parts.append(key),
            lambda _, __: None,
        )
    finally:
        module._WINDOW, module._MAX_STRING = whole, strings
    assert sorted(parts) == sorted(scalars(json.loads(data)))


@pytest.mark.parametrize(
    ("end", "id_"),
    [
        ('"auto_map": {"AutoModel": "x.Y"}}', "config.code"),
        ('"class_name": "Lambda", "config": {}}', "keras.code"),
        (
            '"__loader__": "ObjectNode", "__class__": "system", "__module__": "os"}',
            "skops.untrusted-type",
        ),
        ('"__loader__": "DictNode", "x": {"__loader__": "EvilNode"}}', "skops.node"),
        ('"chat_template": "{{ x.__class__ }}"}', "template.internals"),
        ('"a": 1, "a": 2}', "format.json.duplicate-key"),
        ('"b": [' + "[" * 200 + "]" * 200 + "]}", "format.json.too-deep"),
    ],
)
def test_what_a_large_document_says_at_its_end_counts(end: str, id_: str) -> None:
    vocabulary = ", ".join(f'"token{at}": {at}' for at in range(120_000))
    data = ('{"vocab": {' + vocabulary + "}, " + end).encode()
    found = scan_bytes("tokenizer.json", data).files[0]
    assert id_ in [finding.id for finding in found.findings]


def test_a_large_tokenizer_is_clean() -> None:
    words = [f"wörd{at}" for at in range(40_000)]
    value = {
        "added_tokens": [{"id": 1, "content": "<s>"}],
        "model": {
            "vocab": {word: at for at, word in enumerate(words)},
            "merges": [[word, word] for word in words],
            "scores": [[word, -1.5e-3] for word in words],
        },
    }
    data = json.dumps(value, ensure_ascii=False, indent=2).encode()
    assert scan_bytes("tokenizer.json", data).verdict is ScanVerdict.CLEAN
    assert scan_bytes("tokenizer.json", data[:-1]).files[0].format != "json"


def test_a_large_yaml_cannot_hide_a_key_that_names_code() -> None:
    data = b"# " + b"x" * (2 << 20) + b"\n_target_: os.system\n"
    found = scan_bytes("config.yaml", data).files[0]
    assert "config.too-large" in [finding.id for finding in found.findings]


@pytest.mark.parametrize("key", [b"_target_", b'"\\x5ftarget_"'])
def test_yaml_of_many_nodes_is_not_built_and_hides_no_key(
    key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_YAML", replace(texts._YAML, max_nodes=1000))  # it was a million
    found = scan_bytes("x", key + b": os.system\na: [" + b"1," * 1100 + b"1]\n").files[0]
    assert [finding.id for finding in found.findings] == ["config.too-large"]


def test_numbers_in_a_list_are_stepped_over_and_what_follows_them_is_not() -> None:
    numbers = b"\x80\x02](" + b"G" + bytes(8) + b"K\x01M\x01\x02J" + bytes(4) + b"N\x88\x89"
    assert scan_bytes("x", numbers * 1 + b"e.").verdict is ScanVerdict.DATA_LIKE
    bad = scan_bytes("x", numbers + b"cos\nsystem\ne.")
    assert bad.verdict is ScanVerdict.MALICIOUS
    assert scan_bytes("x", numbers + b"e" + b"cos\nsystem\n.").verdict is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("number", [b"GGGGGGGGG", b"JJJJJ", b"MMM", b"KK", b"N"])
@pytest.mark.parametrize("count", [1, 999, 1024, 1025, 70_000])
def test_equal_numbers_are_stepped_over_to_their_very_end(number: bytes, count: int) -> None:
    numbers = b"\x80\x02](" + number * count
    assert scan_bytes("x", numbers + b"e.").verdict is ScanVerdict.DATA_LIKE
    for hidden in (b"cos\nsystem\ne.", b"GGGGGGGGGcos\nsystem\ne.", b"ecos\nsystem\n."):
        assert scan_bytes("x", numbers + hidden).verdict is ScanVerdict.MALICIOUS
    for cut in (numbers, numbers[:-1], numbers + b"e"):
        assert scan_bytes("x", cut).verdict is not ScanVerdict.DATA_LIKE


def test_a_digest_is_left_out_where_nobody_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert scan_path(tmp_path / "x.json", digest=False).files[0].sha256 == ""
    assert len(scan_path(tmp_path / "x.json").files[0].sha256) == 64


def test_a_gguf_file_cannot_fill_the_memory_with_templates() -> None:
    text = (5).to_bytes(8, "little") + b"{{a}}"
    head = b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + (1).to_bytes(8, "little")
    key = (1).to_bytes(8, "little") + b"a" + (9).to_bytes(4, "little") + (8).to_bytes(4, "little")
    data = head + key + (90_000).to_bytes(8, "little") + text * 90_000
    found = scan_bytes("m.gguf", data).files[0].findings
    assert "too many templates" in found[-1].message or "too many templates" in found[0].message
