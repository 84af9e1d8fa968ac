"""Programs of `torch.export`: graphs whose texts name nothing to import or evaluate."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from vallum.scan import ScanVerdict, scan_bytes

PLAIN = Path(__file__).parent / "data" / "linear.pt2"  # of `torch.export.save`, samples left out
EVIL = "__import__('os').system('true')"
GRAPH = "archive/models/model.json"
LIST = "archive/data/weights/model_weights_config.json"


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(PLAIN) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def made(held: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(out := io.BytesIO(), "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return out.getvalue()


def with_graph(change: Any, member: str = GRAPH) -> bytes:
    held = members()
    value = json.loads(held[member])
    change(value)
    return made({**held, member: json.dumps(value).encode()})


def ids(data: bytes) -> set[str]:
    return {one.id for one in scan_bytes("x", data, digest=False).files[0].findings}


def test_a_program_is_data() -> None:
    (file,) = scan_bytes("x", PLAIN.read_bytes()).files
    assert (file.format, file.verdict) == ("torch-exported", ScanVerdict.DATA_LIKE), file.findings
    for size in (
        "2*s77 + Max(1, s3)",
        "Mul(Integer(2), Symbol('s7', positive=True, integer=True))",
    ):
        sized = {"n": {"as_expr": {"expr_str": size}}}
        data = with_graph(lambda one: one["graph_module"]["graph"].update(sym_int_values=sized))  # noqa: B023 - called here
        assert ids(data) == set(), size


def node(**fields: Any) -> Any:
    return lambda one: one["graph_module"]["graph"]["nodes"][0].update(fields)


def module(**fields: Any) -> Any:
    return lambda one: one["graph_module"].update(fields)


def tree(kind: str, context: str = "null") -> str:
    return json.dumps([1, {"type": kind, "context": context, "children_spec": []}])


CHANGES = [
    node(target="torch.os.system"), node(target="torch.ops.evil.run.default"),
    node(target="torch.ops.aten.from_file.default"), node(name=f"x: {EVIL}"),
    node(inputs=[{"name": "x", "arg": {"as_expr": {"expr_str": EVIL}}, "kind": 1}]),
    node(inputs=[{"name": "x", "arg": {"as_expr": {"expr_str": "9**9**9**9"}}, "kind": 1}]),
    node(inputs=[{"name": "x", "arg": {"as_expr": {"expr_str": "1<<9999999999"}}, "kind": 1}]),
    node(inputs=[{"name": "x", "arg": {"as_operator": "torch.os.system"}, "kind": 1}]),
    module(module_call_graph=[{"signature": {"in_spec": tree("evil.Module")}}]),
    module(module_call_graph=[{"signature": {"in_spec": tree("collections.defaultdict")}}]),
    module(module_call_graph=[{"signature": {"out_spec": tree("builtins.dict", f'["{EVIL}"]')}}]),
    module(module_call_graph=[{"signature": {"forward_arg_names": [f"x={EVIL}"]}}]),
    module(treespec_namedtuple_fields={"os.x": {"fields": []}}),
    lambda one: one.update(guards_code=[EVIL]),
    lambda one: one.update(range_constraints={EVIL: {"min_val": 1, "max_val": 2}}),
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(CHANGES)))
def test_a_graph_that_names_what_acts_is_refused(at: int) -> None:
    assert ids(with_graph(CHANGES[at])) == {"torch.exported"}
    held = members()
    value = json.loads(held[GRAPH])
    CHANGES[at](value)
    text = json.dumps(value).encode()
    for name in ("archive/models/other.json", "serialized_exported_program.json"):
        assert "torch.exported" in ids(made({**held, name: text})) | ids(made({name: text}))
    root = {"archive/data.pkl": b"\x80\x02]."}
    assert ids(made({**held, **root, GRAPH: text})) >= {"torch.exported", "torch.two-roots"}


def test_weights_are_numbers_of_the_listed_size() -> None:
    held = members()
    assert ids(made({**held, "archive/data/weights/weight_0": b"cos\nsystem\n(S'true'\ntR."}))

    def pickled(one: Any) -> None:
        next(iter(one["config"].values()))["use_pickle"] = True

    assert "torch.exported" in ids(with_graph(pickled, LIST))
