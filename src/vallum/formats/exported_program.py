"""torch's exported programs (`.pt2`) without the pickles in them.

An archive of `torch.export.save` holds a graph as JSON and weights as plain numbers, but also
pickles: sample inputs, and weights of unusual kinds. torch unpickles them, which runs whatever they
say. Here the sample inputs are left out, which nothing needs, and an archive with other pickles is
refused. What is left is loaded in the sandbox all the same: texts in the graph are evaluated.

Source: torch 2.13, `torch/export/pt2_archive/_package.py` and `constants.py`.
"""

import io
import zipfile

from vallum.base import InputError
from vallum.base.bounds import MIB
from vallum.formats.document import load_json
from vallum.formats.zip_archive import ZipArchive

_SAMPLES = "data/sample_inputs/model.pt"
_GRAPH = "models/model.json"
_CONFIGS = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_PLAIN = ("data/weights/weight_", "data/constants/tensor_")
_MARKS = frozenset(
    {"archive_format", "archive_version", ".data/version", "byteorder", ".data/serialization_id"}
)
_MEMBER_BYTES = 1024 * MIB
_HINT = "export the module again: torch.export.save(torch.export.export(module, …), FILE)"


def is_exported(data: bytes) -> bool:
    """Tell whether bytes look like a `.pt2` archive of one program."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False
    return any(name.partition("/")[2] == _GRAPH for name in names)


def without_pickles(data: bytes) -> bytes:
    """Return an archive of the same program in which nothing is a pickle.

    Raises:
        InputError: It is no such archive, or has pickled weights or unknown members.
        LimitExceededError: A bound on archives.
    """
    archive = ZipArchive(data)
    out = io.BytesIO()
    seen = set()
    roots = set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as made:
        for member in archive.files():
            root, _, name = member.name.partition("/")
            roots.add(root)
            seen.add(name)
            if name == _SAMPLES:
                made.writestr(member.name, b"")  # torch reads an empty one as none
                continue
            known = name in {_GRAPH, *_CONFIGS, *_MARKS} or (
                name.startswith(_PLAIN) and name.rpartition("_")[2].isdigit()
            )
            if not known:
                raise InputError(
                    f"the archive holds `{name[:80]}`, which may be a pickle",
                    code="format.torch.pickle", hint=_HINT,
                )  # fmt: skip
            content = archive.read(member, _MEMBER_BYTES)
            if name in _CONFIGS:
                _check_config(content)
            made.writestr(zipfile.ZipInfo(member.name), content)
    if len(roots) != 1 or not {_GRAPH, _SAMPLES, *_CONFIGS} <= seen:
        raise InputError(
            "the archive is no exported program of this form",
            code="format.torch.malformed",
            hint=_HINT,
        )
    return out.getvalue()


def _check_config(content: bytes) -> None:
    document = load_json(content)
    entries = document.get("config") if isinstance(document, dict) else None
    if not isinstance(entries, dict) or not all(isinstance(one, dict) for one in entries.values()):
        raise InputError("the archive's weights are not described", code="format.torch.malformed")
    for name, one in entries.items():
        path = one.get("path_name")
        plain = isinstance(path, str) and path.startswith(("weight_", "tensor_"))
        if one.get("use_pickle") is not False or not plain:
            raise InputError(
                f"`{name[:80]}` is kept as a pickle, which runs code when it is loaded",
                code="format.torch.pickle", hint=_HINT,
            )  # fmt: skip
