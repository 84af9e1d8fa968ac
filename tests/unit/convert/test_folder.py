"""MLflow's model folders: what is read of them, and what they become."""

from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError
from vallum.convert import (
    ConversionReport,
    Converted,
    Difference,
    Tolerance,
    read_folder,
    with_onnx,
)

SKLEARN: dict[str, Any] = {
    "flavors": {
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle", "code": None},
        "python_function": {"loader_module": "mlflow.sklearn", "python_version": "3.11.7"},
    },
    "mlflow_version": "3.1.0",
    "saved_input_example_info": {"artifact_path": "input_example.json", "type": "dataframe"},
    "signature": {
        "inputs": '[{"type": "long", "name": "a"}, {"type": "double", "name": "b"}]',
        "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]',
        "params": None,
    },
    "model_uuid": "u",
}


def folder(**changed: Any) -> dict[str, bytes]:
    return {
        "MLmodel": yaml.safe_dump(SKLEARN | changed).encode(),
        "model.pkl": b"pickle",
        "input_example.json": b'{"columns": ["a", "b"], "data": [[1, 2.5], [3, 4]]}',
        "requirements.txt": b"scikit-learn==1.7\n",
        "python_env.yaml": b"python: 3.11.7\n",
        "code/evil.py": b"import os\n",
    }


def converted(refusal: str = "") -> Converted:
    report = ConversionReport(
        kind="pickle", model="sklearn.X", original_sha256="ab", onnx_sha256="cd",
        inputs=("x float32[?, 2]",),
        outputs=("label string[?]", "probability_no float32[?]", "probability_yes float32[?]"),
        classes=("no", "yes"), features=("a", "b"), opsets={"": 18},
        versions={"onnx": "1.19.0", "onnxruntime": "1.23.0", "numpy": "2.3.0"},
        differences=(Difference("ranges", 10, 0, 0, 0.0),), tolerance=Tolerance(), refusal=refusal,
    )  # fmt: skip
    return Converted(b"onnx", report)


def test_a_folder_becomes_the_same_model_in_the_onnx_flavour() -> None:
    files = folder()
    found = read_folder(files)
    assert (found.path, found.flavour) == ("model.pkl", "sklearn")
    assert found.sample is not None
    assert msgspec.json.decode(found.sample.data) == [[1, 2.5], [3, 4]]
    made = dict(with_onnx(found, files, converted()))
    assert sorted(made) == [
        "MLmodel", "conda.yaml", "input_example.json", "model.onnx", "python_env.yaml",
        "requirements.txt",
    ]  # fmt: skip
    assert made["requirements.txt"].decode().splitlines() == [
        "mlflow==3.1.0", "numpy==2.3.0", "onnx==1.19.0", "onnxruntime==1.23.0",
    ]  # fmt: skip
    told = yaml.safe_load(made["MLmodel"])
    assert set(told["flavors"]) == {"onnx", "python_function"}
    assert told["flavors"]["python_function"]["loader_module"] == "mlflow.onnx"
    assert told["metadata"] == {"vallum.converted_from": "sklearn.X, sha256:ab"}
    assert told["model_uuid"] == "u"
    assert told["signature"]["inputs"] == SKLEARN["signature"]["inputs"]
    assert msgspec.json.decode(told["signature"]["outputs"]) == [
        {"type": "string", "name": "label"},
        {"type": "float", "name": "probability_no"},
        {"type": "float", "name": "probability_yes"},
    ]


def test_a_description_adds_no_line_to_the_requirements() -> None:
    python = {"python_version": "3\nevil", "loader_module": "x"}
    flavours = {**SKLEARN["flavors"], "python_function": python}
    files = folder(mlflow_version="3.1.0\nevil", flavors=flavours)
    made = dict(with_onnx(read_folder(files), files, converted()))
    names = ("requirements.txt", "conda.yaml", "python_env.yaml")
    assert not any(b"evil" in made[name] for name in names)


@pytest.mark.parametrize("inputs", ["3", "{}", "[[]]", '[{"type": []}]', "x", ""])
def test_a_signature_that_is_none_ends_nothing(inputs: str) -> None:
    files = folder(signature={"inputs": inputs})
    with_onnx(read_folder(files), files, converted())


def test_a_signature_of_whole_numbers_alone_is_left_out() -> None:
    whole = {"inputs": '[{"type": "long", "name": "a"}, {"type": "integer", "name": "b"}]'}
    files = folder(signature=whole)
    made = dict(with_onnx(read_folder(files), files, converted()))
    assert yaml.safe_load(made["MLmodel"])["signature"] is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"flavors": {"keras": {"data": "model.pkl"}}}, "flavours are keras"),
        ({"flavors": {}}, "flavours are none"),
        ({"flavors": 3}, "names no flavour"),
        ({"flavors": {"sklearn": {"pickled_model": "../model.pkl"}}}, "a file that is not there"),
        ({"flavors": {"sklearn": {"pickled_model": 3}}}, "a file that is not there"),
        ({"flavors": {"xgboost": {"data": "model.pkl", "code": "code"}}}, "code of its own"),
    ],
)
def test_what_is_no_such_folder_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        read_folder(folder(**changed))
    assert refused.value.code == "convert.folder"


def test_a_folder_without_a_description_is_none_of_mlflow() -> None:
    with pytest.raises(InputError, match="no `MLmodel`"):
        read_folder({"model.pkl": b""})


@pytest.mark.parametrize("example", [b"{", b'{"data": [["a"]]}', b"[1, 2]", b"[]", b'"x"'])
def test_an_example_that_is_no_table_of_numbers_is_no_sample(example: bytes) -> None:
    assert read_folder(folder() | {"input_example.json": example}).sample is None


_WORDS = st.sampled_from(["flavors", "sklearn", "pickled_model", "model.pkl", "data", "signature",
                          "inputs", "metadata", "mlflow_version", "saved_input_example_info",
                          "artifact_path", "input_example.json"])  # fmt: skip


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | _WORDS | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
        max_leaves=15,
    )
)
@settings(max_examples=60)
def test_any_description_is_read_or_refused(document: object) -> None:
    files = folder() | {"MLmodel": yaml.safe_dump(document).encode()}
    try:
        found = read_folder(files)
    except (InputError, LimitExceededError):
        return
    with_onnx(found, files, converted())
