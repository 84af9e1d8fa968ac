"""What is packed of a folder."""

import tarfile
from pathlib import Path

from vallum.sdk.nouns import pack


def test_code_is_sent_without_what_python_compiled(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/train.cpython-311.pyc").write_bytes(b"x")
    (tmp_path / "train.py").write_bytes(b"1\n")
    with tarfile.open(fileobj=pack(tmp_path, code=True), mode="r|") as archive:
        assert archive.getnames() == ["train.py"]
    with tarfile.open(fileobj=pack(tmp_path), mode="r|") as archive:
        assert len(archive.getnames()) == 2
