"""What torch writes beside state dicts: traced and scripted archives, buffers, optimizers."""

import argparse
import io
import warnings
import zipfile
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

from vallum.scan import ScanVerdict, scan_bytes


def verdict(data: bytes) -> ScanVerdict:
    return scan_bytes("x", data, digest=False).verdict


def ids(data: bytes) -> set[str]:
    return {one.id for one in scan_bytes("x", data, digest=False).files[0].findings}


def saved(value: object, save: Callable[..., object] = torch.save) -> bytes:
    out = io.BytesIO()
    save(value, out)
    return out.getvalue()


def changed(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """Return the archive with members changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


class Block(nn.Module):
    """A module whose script has messages, nested attributes and an argument named `input`."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()))

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as torch's own modules
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")
        return self.parts(input).mean((2, 3))


@pytest.fixture(scope="module")
def traced() -> bytes:
    """Return a traced module with the inputs that it was traced with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.trace(Block().eval(), torch.zeros(1, 1, 4, 4))
        return saved(module, torch.jit.save)


@pytest.fixture(scope="module")
def scripted() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return saved(torch.jit.script(Block().eval()), torch.jit.save)


def test_traced_and_scripted_archives_pass_as_code_capable(traced: bytes, scripted: bytes) -> None:
    assert verdict(traced) is verdict(scripted) is ScanVerdict.DATA_LIKE
    with zipfile.ZipFile(io.BytesIO(traced)) as archive:
        assert any(name.endswith("/traced_inputs.pkl") for name in archive.namelist())


@pytest.mark.parametrize("member", ["data.pkl", "constants.pkl", "traced_inputs.pkl"])
def test_every_pickle_of_a_traced_archive_is_followed(traced: bytes, member: str) -> None:
    evil = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R."

    def change(name: str, content: bytes) -> bytes:
        return evil if name.endswith("/" + member) else content

    assert verdict(changed(traced, change)) is ScanVerdict.MALICIOUS


def test_a_storage_that_no_pickle_names_is_refused(traced: bytes) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content + b"\x7fELF" if "/traced_inputs/" in name else content

    assert verdict(changed(traced, change)) is not ScanVerdict.DATA_LIKE


@pytest.mark.parametrize(
    "line",
    [
        'getattr(self, "__class__")',
        "getattr(self, name)",
        "ops.image.read_file(x)",
        "ops.torchvision.load(x)",
        "eval(x)",
        "__torch__.torch.classes.evil.Runner(x)",
    ],
)
def test_script_that_leaves_its_interpreter_is_found(scripted: bytes, line: str) -> None:
    def change(name: str, content: bytes) -> bytes:
        here = name.endswith(".py") and b"pass" in content
        return content.replace(b"pass", line.encode(), 1) if here else content

    assert verdict(changed(scripted, change)) is ScanVerdict.MALICIOUS


@pytest.mark.parametrize("whole", [True, False])
def test_buffers_optimizers_and_plain_records_pass(*, whole: bool) -> None:
    weight = nn.Parameter(torch.ones(2))
    marked = torch.ones(2)
    marked.origin = "measured"  # type: ignore[attr-defined]  # torch keeps what is set on a tensor
    for value in (
        nn.Buffer(torch.ones(3)),
        marked,
        torch.optim.AdamW([weight]),
        {"args": argparse.Namespace(lr=0.1), "data": Subset(TensorDataset(torch.ones(3)), [0])},
        {"type": torch.qint8, "best": torch.ones(3).max(0)},
    ):
        data = io.BytesIO()
        torch.save(value, data, _use_new_zipfile_serialization=whole)
        assert verdict(data.getvalue()) is ScanVerdict.DATA_LIKE, type(value)


REBUILD = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n("


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (b"cposix\nsystem\nctorch\nTensor\nX\x02\x00\x00\x00id\x85}", "pickle.dangerous-name"),
        (b"cbuiltins\nlist\nctorch\nTensor\n)}", "pickle.arguments"),
        (b"ctorch._utils\n_rebuild_tensor_v2\ncbuiltins\nlist\n)}", "pickle.arguments"),
        (b"ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n)", "pickle.arguments"),
        (
            b"ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n)}X\x0c\0\0\0__setstate__)s",
            "pickle.unusual-state",
        ),
    ],
)
def test_a_rebuilt_tensor_calls_only_what_rebuilds_tensors(given: bytes, wanted: str) -> None:
    assert wanted in ids(REBUILD + given + b"tR.")
