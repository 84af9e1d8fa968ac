"""Round 7, hostile: other gadgets, tricks and containers than the rounds before."""

from collections.abc import Iterator

import numpy as np

from held_out import (
    seventh_archives,
    seventh_containers,
    seventh_formats,
    seventh_hooks,
    seventh_opcodes,
    seventh_stdlib,
    seventh_templates,
    seventh_third,
)
from held_out.seventh_asm import Loaded, dressed


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    at = int(rng.integers(6))
    inner = seventh_stdlib.inner_pickle()
    groups = (
        ("P01_direct", seventh_stdlib.direct()),
        ("P02_stdlib_gadget", seventh_stdlib.runners(inner)),
        ("P02_stdlib_gadget", seventh_stdlib.callers()),
        ("P02_stdlib_gadget", seventh_stdlib.reach()),
        ("P03_thirdparty_gadget", seventh_third.libraries(inner)),
        ("P07_dotted_trusted", seventh_third.dotted()),
        ("P10_nested_pickle", seventh_opcodes.nested(inner)),
    )
    for category, table in groups:
        for name, value in table.items():
            at += 1
            yield Loaded(category, f"{name}.pkl", {f"{name}.pkl": dressed(value, at)}, "pickle")
    raw = (
        ("P04_ext_opcode", seventh_opcodes.extensions()),
        ("P05_call_opcodes", seventh_opcodes.calls()),
        ("P06_memo_computed", seventh_opcodes.memo()),
        ("P08_broken_after", seventh_opcodes.broken()),
        ("P11_escapes", seventh_opcodes.escapes()),
    )
    for category, blobs in raw:
        for name, data in blobs.items():
            yield Loaded(category, f"{name}.pkl", {f"{name}.pkl": data}, "pickle")
    for name, (extension, loader, data) in seventh_opcodes.streams().items():
        yield Loaded("P09_multistream", name + extension, {name + extension: data}, loader)
    for part in (
        seventh_containers.torch_zips,
        seventh_containers.corrupt,
        seventh_containers.nested,
        seventh_containers.compressed,
        seventh_containers.extensions,
        seventh_containers.polyglots,
        seventh_containers.numpys,
        seventh_archives.locked,
        seventh_archives.archives,
        seventh_archives.bombs,
        seventh_formats.keras,
        seventh_formats.saved_models,
        seventh_formats.torchscripts,
        seventh_formats.onnx_files,
        seventh_formats.safetensors,
        seventh_hooks.code_hooks,
        seventh_hooks.others,
        seventh_templates.templates,
        seventh_templates.upstream,
    ):
        yield from part()
