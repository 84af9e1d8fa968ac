"""Tokenizers' own files: SentencePiece's model, vocabularies and merges; and prose beside them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base.bounds import MODEL
from vallum.scan import ScanVerdict, scan_bytes
from vallum.scan.sentencepiece import sentencepiece_fault

# Written by sentencepiece 0.2.3: unigram, 35 pieces, one symbol of its user's, two self tests.
TOKENIZER = (Path(__file__).parent / "data" / "tokenizer.model").read_bytes()
TABLE = (4).to_bytes(4, "little") + bytes(4) + "ﬁ".encode() + b"\0"  # a trie of one unit


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def test_a_model_of_sentencepiece_is_clean() -> None:
    for data in (TOKENIZER, TOKENIZER + field(5, field(2, TABLE))):
        (file,) = scan_bytes("tokenizer.model", data).files
        assert (file.format, file.verdict) == ("sentencepiece", ScanVerdict.CLEAN)


@pytest.mark.parametrize(
    "tail",
    [
        b"\0",
        field(6, b"x"),  # a field that the schema does not have
        field(1, b""),  # a piece without a text
        field(1, field(1, b"\xff")),
        field(1, field(1, b"a") + b"\x18\x09"),  # an unknown type of piece
        field(1, field(1, b"a") + b"\x15\0\0\xc0\x7f"),  # no number
        field(2, b""),  # the trainer's record twice
        field(5, field(2, TABLE[:-1])),
        field(5, field(2, b"\xff\xff\xff\xff")),
        field(5, field(7, b"x")),
        field(4, field(2, b"x")),
    ],
)
def test_what_a_model_of_sentencepiece_cannot_hold_is_refused(tail: bytes) -> None:
    assert scan_bytes("tokenizer.model", TOKENIZER + tail).verdict is ScanVerdict.SUSPICIOUS


@given(st.integers(0, len(TOKENIZER) - 1), st.binary(max_size=4))
def test_any_change_is_read_or_refused(at: int, new: bytes) -> None:
    data = TOKENIZER[:at] + new + TOKENIZER[at + len(new) :]
    assert isinstance(sentencepiece_fault(memoryview(data), MODEL), str)
    if len(data) < len(TOKENIZER):
        assert sentencepiece_fault(memoryview(data), MODEL)


MERGES = (
    "#version: 0.2\nĠ t\nimport ant\nrun ning\neval (\nsystem (\nclass es:\n{{ }}\n! python\n& x\n"
)
VOCAB = "[PAD]\n!\n#!\n__init__\nlambda:\n{{\n{%\neval(\n##ing\n&amp\n*x\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("merges.txt", MERGES), ("a/vocab.txt", VOCAB), ("m.vocab", "<s>\t0\n__a\t-1\n")],
)
def test_words_of_a_vocabulary_are_no_code(name: str, text: str) -> None:
    assert scan_bytes(name, text.encode()).exit_code == 0, scan_bytes(name, text.encode())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other.txt", MERGES),  # no name of a vocabulary
        ("vocab.txt", "import os\n"),  # a program
        ("vocab.txt", "exec(input())\n"),
        ("vocab.txt", '"""\n!\n"""\nexec(input())\n'),
        ("vocab.txt", "[PAD]\n!\nimport os; os.system('x')\n"),  # three words in a line
        ("vocab.txt", "[PAD]\n!\ncurl x|sh\n"),
        ("vocab.txt", "#!/bin/sh\n[PAD]\n!\n"),
        ("vocab.txt", "[PAD]\n!\n<script>x</script>\n"),
        ("vocab.txt", "<svg onload=x>\n!\n"),
        ("merges.txt", "cos\nsystem\n(S'id'\ntR."),
    ],
)
def test_a_name_makes_no_code_a_vocabulary(name: str, text: str) -> None:
    assert scan_bytes(name, text.encode()).exit_code == 1


def test_numbers_of_tokens_name_nothing_to_import() -> None:
    vocabulary = {"_target_": 1, "auto_map": 2, "py/object": 3, "class_path": 4, "{{": 5}
    assert scan_bytes("vocab.json", json.dumps(vocabulary).encode()).exit_code == 0
    for key, value in (("_target_", "os.system"), ("trust_remote_code", 1), ("py/object", "x.Y")):
        assert scan_bytes("vocab.json", json.dumps({key: value}).encode()).exit_code == 1


@pytest.mark.parametrize(
    "text",
    [
        "Run the model with care.\nimport the weights first\nclass 0: cat\n",
        "The file system (ext4) is\nof an operating system (Linux).\nCall model.eval() before.\n",
        "reg_lambda: 1\nlambda: 0.5\n",
    ],
)
def test_prose_beside_a_model_is_no_code(text: str) -> None:
    assert scan_bytes("notes.txt", text.encode()).exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        "import os", "import os as o", "import os, sys", "import os; x", "import os # x",
        "import os \\\n", "from os import (system)", "import x from 'fs'", 'import {x} from "fs"',
        "x = system('id')", "os.system (c)", "system ('id')", "eval(x)", "y = lambda: f(x)",
        "y = lambda a, b=1: f", "class A:\n", "def f[T](x): ...", "RUN x", "from a:1\nrun x\n",
    ],
)  # fmt: skip
def test_code_in_a_text_stays_a_finding(text: str) -> None:
    assert scan_bytes("notes.txt", f"words\n{text}\n".encode()).exit_code == 1
