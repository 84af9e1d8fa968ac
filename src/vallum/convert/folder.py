"""MLflow's model folders: what is in one, and the same folder with the ONNX model in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from vallum.base import InputError, VallumError
from vallum.base.bounds import MIB, JsonBounds
from vallum.convert.convert import Converted, Sample
from vallum.formats import load_json, load_yaml

DESCRIPTION: Final = "MLmodel"
MODEL: Final = "model.onnx"
_FILES: Final = {"sklearn": "pickled_model", "xgboost": "data", "lightgbm": "data"}
_KEPT: Final = frozenset({"input_example.json", "serving_input_example.json", "README.md"})
_EXAMPLE = JsonBounds(max_bytes=16 * MIB)
_WHOLE: Final = frozenset({"long", "integer", "boolean"})
_TYPES: Final = {"float32": "float", "int64": "long", "string": "string"}
_VERSION: Final = re.compile(r"[0-9][0-9a-zA-Z.+]{0,40}")
TAG: Final = "vallum.converted_from"


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that MLflow wrote.

    Attributes:
        path: Of the model's file in it.
        flavour: `sklearn`, `xgboost` or `lightgbm`.
        sample: The input example, where there is one that is a table of numbers.
        document: What `MLmodel` says.
    """

    path: str
    flavour: str
    sample: Sample | None
    document: dict[str, Any]


def read_folder(files: Mapping[str, bytes]) -> ModelFolder:
    """Find the model in an MLflow folder.

    Args:
        files: Path within the folder and content of each.

    Raises:
        InputError: It is no such folder, of another flavour, or brings code of its own.
        LimitExceededError: `MLmodel` is beyond the bounds of a document.
    """
    if DESCRIPTION not in files:
        raise InputError(
            "the folder has no `MLmodel`: it is none that MLflow wrote", code="convert.folder",
            hint="convert the model's file itself",
        )  # fmt: skip
    document = load_yaml(files[DESCRIPTION])
    flavours = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavours, dict):
        raise InputError("`MLmodel` names no flavour", code="convert.folder")
    for name, key in _FILES.items():
        said = flavours.get(name)
        if isinstance(said, dict):
            if said.get("code"):
                raise InputError(
                    "the model brings code of its own, which no converter knows",
                    code="convert.folder",
                    hint="log it without `code_paths`",
                )
            path = said.get(key)
            if not isinstance(path, str) or path not in files:
                raise InputError("`MLmodel` names a file that is not there", code="convert.folder")
            return ModelFolder(path, name, _example(files, document), document)
    names = ", ".join(sorted(str(one)[:40] for one in flavours)[:5])
    raise InputError(
        f"the model's flavours are {names or 'none'}; sklearn, xgboost and lightgbm are converted",
        code="convert.folder",
        hint="log it with mlflow.onnx",
    )


def _example(files: Mapping[str, bytes], document: Mapping[str, Any]) -> Sample | None:
    """Return the input example as rows; None where it is no table of numbers."""
    info = document.get("saved_input_example_info")
    path = info.get("artifact_path") if isinstance(info, dict) else None
    if not isinstance(path, str) or path not in files:
        return None
    try:
        told = load_json(files[path], _EXAMPLE)
    except VallumError:
        return None
    rows = told.get("data", told.get("inputs")) if isinstance(told, dict) else told
    if not isinstance(rows, list) or not rows or not all(isinstance(one, list) for one in rows):
        return None
    plain = all(isinstance(cell, int | float) for row in rows for cell in row)
    return Sample(msgspec.json.encode(rows), "matrix") if plain else None


def with_onnx(
    folder: ModelFolder, files: Mapping[str, bytes], converted: Converted
) -> list[tuple[str, bytes]]:
    """Return the files of the same model in MLflow's onnx flavour.

    What names the old flavour goes: its file, its requirements, code. The rest of the description
    stays as its author wrote it, but for what becomes a line of another file.

    Raises:
        GateError: The result is too far from its original.
    """
    import yaml

    report, document = converted.report, dict(folder.document)
    version = _version(document.get("mlflow_version"))
    python = document["flavors"].get("python_function")
    python = _version(python.get("python_version")) if isinstance(python, dict) else None
    needed = [
        f"mlflow=={version}" if version else "mlflow",
        *(f"{name}=={report.versions[name]}" for name in ("numpy", "onnx", "onnxruntime")
          if name in report.versions),
    ]  # fmt: skip
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}" if python else "python", "pip", {"pip": needed}],
        "name": "mlflow-env",
    }
    env: dict[str, object] = {
        **({"python": python} if python else {}),
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    metadata = document.get("metadata")
    document |= {
        "flavors": {
            "onnx": {
                "code": None,
                "data": MODEL,
                "onnx_session_options": None,
                "onnx_version": report.versions.get("onnx", ""),
                "providers": ["CPUExecutionProvider"],
                "save_as_external_data": False,
            },
            "python_function": {
                "data": MODEL,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.onnx",
                "python_version": python,
            },
        },
        "metadata": {
            **(metadata if isinstance(metadata, dict) else {}),
            TAG: f"{report.model}, sha256:{report.original_sha256}",
        },
        "model_size_bytes": len(converted.onnx),
        "signature": _signature(document.get("signature"), report.outputs),
    }
    kept = {path: data for path, data in files.items() if path in _KEPT}
    kept |= {
        DESCRIPTION: yaml.safe_dump(document, sort_keys=True).encode(),
        MODEL: converted.require(),
        "requirements.txt": "\n".join(needed).encode() + b"\n",
        "conda.yaml": yaml.safe_dump(conda).encode(),
        "python_env.yaml": yaml.safe_dump(env).encode(),
    }
    return sorted(kept.items())


def _version(said: object) -> str | None:
    """Return a version, or nothing for what is none: it becomes part of a line."""
    return said if isinstance(said, str) and _VERSION.fullmatch(said) else None


def _signature(said: object, outputs: tuple[str, ...]) -> dict[str, object] | None:
    """Return the signature with the outputs that there are now.

    One of whole numbers alone is left out: the client would then give the model integers, which it
    does not take, and would refuse the floats that it does.
    """
    if not isinstance(said, dict):
        return None
    inputs = said.get("inputs")
    try:
        columns = msgspec.json.decode(inputs) if isinstance(inputs, str) else []
    except msgspec.DecodeError:
        return None
    if not isinstance(columns, list):
        return None
    types = {str(one.get("type")) for one in columns if isinstance(one, dict)}
    if types and types <= _WHOLE:
        return None
    told = []
    for output in outputs:
        name, _, kind = output.partition(" ")
        told.append({"type": _TYPES.get(kind.partition("[")[0], "float"), "name": name})
    return {**said, "outputs": msgspec.json.encode(told).decode()}
