"""Which format are these bytes, and what does its reader say? Unknown is suspicious.

Formats are told by their bytes alone. A name can only make the verdict worse: a file that a
loader would run because of its name is a finding whatever it holds.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from vallum.base.bounds import ARCHIVE, MIB, MODEL, TABLE, ArchiveBounds, ModelBounds
from vallum.base.errors import VallumError
from vallum.formats import (
    Member,
    TarArchive,
    ZipArchive,
    read_footer,
    read_safetensors_header,
)
from vallum.scan.arrow import arrow_fault, is_arrow, pairs_fault
from vallum.scan.audio import is_wav, wav_fault
from vallum.scan.avro import MAGIC as AVRO
from vallum.scan.avro import avro_fault
from vallum.scan.catboost import catboost_fault, is_catboost
from vallum.scan.characters import as_utf8, is_text
from vallum.scan.exported import graph_fault, is_graph, is_program, tensors_kind, weights_of
from vallum.scan.graphs import (
    Beside,
    is_onnx_tensor,
    is_saved_model,
    scan_onnx,
    scan_saved_model,
    scan_torchscript,
)
from vallum.scan.hdf5 import scan_hdf5
from vallum.scan.images import bmp_fault, gif_fault, jpeg_fault, png_fault, webp_fault
from vallum.scan.matlab import is_matlab, is_matlab_4, matlab_fault
from vallum.scan.packed import expand, gather, packing
from vallum.scan.pickles import PickleFile, acts_as_pickle, looks_like_pickle, scan_pickle
from vallum.scan.polyglots import (
    HDF5,
    ZIP_END,
    ZIP_ENTRY,
    ZIP_TAIL,
    is_also_hdf5,
    is_also_tar,
    is_also_zip,
    is_read_otherwise,
)
from vallum.scan.raster import ico_fault, is_ico, is_tiff, pnm_fault, tiff_fault
from vallum.scan.records import are_records
from vallum.scan.report import Findings
from vallum.scan.sentencepiece import sentencepiece_fault
from vallum.scan.sqlite import MAGIC as SQLITE
from vallum.scan.sqlite import sqlite_fault
from vallum.scan.stata import is_stata, stata_fault
from vallum.scan.tensors import is_idx, scan_gguf, scan_npy
from vallum.scan.texts import scan_text
from vallum.scan.tflite import is_tflite, tflite_fault
from vallum.scan.ubjson import ubjson_fault
from vallum.scan.vocabulary import is_excused, is_vocabulary
from vallum.schema import Finding

_ATLAS = "AML.T0011.000"
_EXECUTABLE_NAME = re.compile(
    r"\.(py[cdiow]?|pyx|ipynb|so(\.\d+)*|dll|dylib|exe|com|scr|bat|cmd|ps1|sh|bash|zsh|js|mjs|vbs|"
    r"jar|class|wasm|rb|pl|php|r|rds|rdata|mlmodelc|pth\.py|bin\.py|egg|whl|desktop|service|cjs|hta|"
    r"wsf|vbe|psm1|command|lua|jl)$|"
    # What a debugger, a shell or R runs where it starts.
    r"(^|[/\\])\.(pdbrc|gdbinit|lldbinit|Rprofile|envrc|bashrc|bash_profile|profile|zshrc|zshenv)$",
    re.IGNORECASE,
)
# Python's `site` runs such a line, whatever the others are: a comment of a drawing, a table.
_RUN_LINE = re.compile(rb"(?:^|\r)(?:\xef\xbb\xbf)?import[ \t]", re.MULTILINE)
_EXECUTABLE = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\0asm", b"#!")
# No loader runs or renders these, so what they quote does nothing: model cards are full of code.
_CARD = re.compile(
    r"(^|/)((README|MODEL_?CARD)(\.(md|rst|txt))?|[^/]+\.(md|markdown))$", re.IGNORECASE
)
_QUOTED = ("text.", "template.", "format.yaml.")
_MAX_TEXT = 512 * MIB
_ZIP64 = b"PK\x06\x07"
_ZIP_RECORD = 22
_READ_AS_PICKLE = frozenset({"pickle", "joblib", "torch-legacy", "text", "yaml", "jinja"})
_STORAGE = re.compile(r"^(data|constants|traced_inputs)/(\d+)$")
# Pickles of a torch zip, beside the folder of their storages; TorchScript keeps what it traced.
_TORCH_PICKLES = ("data", "constants", "traced_inputs")


@dataclass(slots=True)
class Share:
    """The part of an archive's members that one process judges: every `of`th, from `number` on.

    `expanded` is how many bytes that process has accounted for: all members, whoever judges them,
    and what its own hold; `others` is the part of it that others judge.
    """

    number: int = 0
    of: int = 1
    expanded: int = 0
    others: int = 0


class Inspector:
    """Walks one file and everything in it; keeps what it finds in `findings`.

    `judge` is asked first about each member of an archive: its name, its place, its bytes. Where it
    says True, the member is judged already. `beside` tells which tensors of an ONNX file lie in its
    own folder. `share` leaves members of the outermost archive to other processes.
    """

    def __init__(
        self,
        findings: Findings,
        *,
        model: ModelBounds = MODEL,
        archive: ArchiveBounds = ARCHIVE,
        judge: Callable[[str, str, memoryview], bool] | None = None,
        beside: Beside | None = None,
        share: Share | None = None,
    ) -> None:
        self._share = share or Share()
        self._judge = judge
        self._beside = beside
        self._findings = findings
        self._model = model
        self._archive = archive

    def inspect(self, data: memoryview, member: str = "", name: str = "", depth: int = 0) -> str:
        """Judge the bytes and return their format; never raises on any bytes."""
        if _EXECUTABLE_NAME.search(name):
            self._add("file.executable-name", "a loader could run a file of this name", member)
        if name.lower().endswith(".pth") and is_text(data) and _RUN_LINE.search(data):
            self._add("file.executable-line", "Python runs a line of a file of this name", member)
        try:
            kind = self._inspect(data, member, depth)
        except VallumError as error:
            self._add(error.code, error.message, member)
            return "malformed"
        except (RecursionError, MemoryError):
            self._add("file.too-complex", "the file is nested beyond what is read", member)
            return "malformed"
        if kind in ("text", "jinja", "yaml") and _CARD.search(name.replace("\\", "/")):
            self._quoted(member, lambda one: one.id.startswith(_QUOTED))
        elif kind in ("text", "jinja", "yaml") and self._is_doubted(member):
            if is_vocabulary(name, data):
                self._quoted(member, is_excused)
            elif kind == "text" and are_records(as_utf8(data) or data):
                self._quoted(member, lambda one: one.id == "text.code" and is_excused(one))
        if is_read_otherwise(name, kind):
            self._add("file.polyglot", f"a file of this name is read as no {kind}", member)
        if kind not in _READ_AS_PICKLE and acts_as_pickle(data, self._model):
            self._add("file.polyglot", f"the {kind} file also acts as a pickle", member)
        return kind

    def _inspect(self, data: memoryview, member: str, depth: int) -> str:
        head = bytes(data[:512])
        if not head:
            self._add("file.empty", "the file is empty", member)
            return "empty"
        if head.startswith(_EXECUTABLE):
            self._findings.code_capable = True
            self._findings.add(
                "file.executable",
                "the file is a program",
                severity="critical",
                member=member,
                atlas=_ATLAS,
            )
            return "executable"
        if head[:4] in (b"PK\x03\x04", ZIP_END):
            return self._zip(data, member, depth)
        if head[257:262] == b"ustar":
            tar = TarArchive(data, self._archive)
            if not _ends_in_zip_member(tar, data) and is_also_zip(data):
                self._add("file.polyglot", "the file is also a zip archive", member)
            self._refuse_hdf5(data, member, (one.offset for one in tar.files()))
            return self._archive_of(tar, "tar", member, depth)
        self._refuse_polyglot(data, member)
        return self._binary(data, head, member, depth)

    def _binary(self, data: memoryview, head: bytes, member: str, depth: int) -> str:
        if head[:6] == b"\x93NUMPY":
            scan_npy(data, self._findings, self._model, member)
            return "npy"
        if head[:4] == b"GGUF":
            scan_gguf(data, self._findings, self._model)
            return "gguf"
        if head[:4] == b"PAR1":
            return self._fault("parquet", pairs_fault(read_footer(data, TABLE).metadata), member)
        if head[:8] == b"\x89PNG\r\n\x1a\n":
            return self._fault("png", png_fault(data), member)
        if head[:3] == b"\xff\xd8\xff":
            return self._fault("jpeg", jpeg_fault(data), member)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return self._fault("gif", gif_fault(data), member)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return self._fault("webp", webp_fault(data), member)
        if is_arrow(head):
            return self._fault("arrow", arrow_fault(data), member)
        if is_tflite(head):
            return self._fault("tflite", tflite_fault(data), member)
        if is_catboost(head):
            return self._fault("catboost", catboost_fault(data), member)
        if head[:16] == SQLITE:
            return self._fault("sqlite", sqlite_fault(data), member)
        if head[:4] == AVRO:
            return self._fault("avro", avro_fault(data), member)
        if is_stata(head):
            return self._fault("stata", stata_fault(data), member)
        if is_matlab(bytes(data[:128])):
            return self._fault("matlab", matlab_fault(data), member)
        if is_wav(head):
            return self._fault("wav", wav_fault(data), member)
        if is_tiff(head):
            return self._fault("tiff", tiff_fault(data), member)
        if is_idx(data):
            return "idx"
        if is_ico(data):
            return self._fault("ico", ico_fault(data), member)
        if head[:2] in (b"P4", b"P5", b"P6") and head[2:3].isspace():
            return self._fault("pnm", pnm_fault(data), member)
        if head[:2] == b"BM" and int.from_bytes(head[2:6], "little") == len(data):
            return self._fault("bmp", bmp_fault(data), member)
        if head[:8] == HDF5:
            scan_hdf5(data, self._findings, self._model, member)
            return "hdf5"
        if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= len(data):  # noqa: PLR2004 - `{}`
            read_safetensors_header(data, self._model)
            return "safetensors"
        kind = packing(data)
        if kind:
            return self._packed(data, kind, member, depth)
        return self._rest(data, head, member)

    def _rest(self, data: memoryview, head: bytes, member: str) -> str:
        """Tell the formats that have no magic number."""
        textual = len(data) <= _MAX_TEXT and is_text(data)
        json_like = textual and head[:1] in (b"{", b"[")
        if not json_like and looks_like_pickle(data, self._model):
            return scan_pickle(data, self._findings, self._model, member=member).format
        if textual:
            return scan_text(data, self._findings, member)
        if head[:1] == b"{" and head[1:2] in (b"i", b"U", b"I", b"l", b"L"):
            return self._fault("ubjson", ubjson_fault(data, self._model), member)
        other = as_utf8(data)
        if other is not None:
            return self._rest(other, bytes(other[:512]), member)
        if is_saved_model(data):
            scan_saved_model(data, self._findings)
            return "tensorflow"
        if head[:1] in (b"\x08", b"\x10") and is_onnx_tensor(data):
            return "onnx-tensor"
        if head[:1] == b"\x08":
            beside = None if member else self._beside
            scan_onnx(data, self._findings, self._model, member, beside)
            return "onnx"
        if (head[:2] == b"\0\0" or head[1:4] == b"\0\0\0") and is_matlab_4(data):
            return "matlab"
        if head[:1] == b"\x0a" and not sentencepiece_fault(data, self._model):
            return "sentencepiece"
        self._add("file.unknown-format", "the format is not known, so it is not trusted", member)
        return "unknown"

    def _packed(self, data: memoryview, kind: str, member: str, depth: int) -> str:
        if not self._deeper(depth, member):
            return kind
        inner = expand(data, kind, self._archive)
        if self._account(len(inner), member):
            return f"{kind}+{self.inspect(inner, member, depth=depth + 1)}"
        return kind

    def _zip(self, data: memoryview, member: str, depth: int) -> str:
        archive = ZipArchive(data, self._archive)
        names = {entry.name for entry in archive.files()}
        roots = [name.removesuffix("data.pkl") for name in names if is_torch_root(name)]
        programs = [name for name in names if is_program(name)]
        judged = () if roots or programs else archive.files()  # torch's storages are numbers
        self._refuse_hdf5(data, member, (one.offset for one in judged if one.method == "stored"))
        if programs:
            if roots or len(programs) > 1:
                self._add("torch.two-roots", "the archive holds two torch models", member)
            return self._exported(archive, programs[0], member, depth)
        if len(roots) == 1:
            return self._torch(archive, roots[0], member, depth)
        if len(roots) > 1:
            self._add("torch.two-roots", "the archive holds two torch models", member)
        kind = _zip_kind(names)
        return self._archive_of(archive, kind, member, depth)

    def _exported(self, archive: ZipArchive, mark: str, member: str, depth: int) -> str:
        """Judge a program of `torch.export`: graphs, weights by their sizes, and the rest."""
        self._findings.code_capable = True
        root = mark[: mark.rfind("/") + 1]
        entries = {entry.name.removeprefix(root): entry for entry in archive.files()}
        sizes: dict[str, int] = {}
        for name, entry in entries.items():
            content = (
                self._content(archive, entry, _join(member, entry.name))
                if (kind := tensors_kind(name))
                else None
            )
            try:
                sizes.update(weights_of(kind, content) if content is not None else ())
            except (ValueError, KeyError, TypeError, AttributeError, VallumError):
                self._add("torch.exported", "a list of tensors that is not understood", member)
        for name, entry in entries.items():
            inner = _join(member, entry.name)
            if sizes.get(name) == entry.size:
                self._drain(archive, entry, inner)
                continue
            if is_graph(name):
                content = self._content(archive, entry, inner)
                if content is not None and (fault := graph_fault(content)):
                    self._add("torch.exported", f"the graph: {fault}"[:200], inner)
                continue
            self._entry(archive, entry, member, depth)
        return "torch-exported"

    def _archive_of(
        self, archive: ZipArchive | TarArchive, kind: str, member: str, depth: int
    ) -> str:
        if not self._deeper(depth, member):
            return kind
        if not archive.members and kind == "zip":
            return kind
        for at, entry in enumerate(archive.files()):
            if depth == 0 and at % self._share.of != self._share.number:
                self._share.expanded += entry.size
                self._share.others += entry.size
            else:
                self._entry(archive, entry, member, depth)
        return kind

    def _entry(
        self, archive: ZipArchive | TarArchive, entry: Member, member: str, depth: int
    ) -> None:
        inner = _join(member, entry.name)
        content = self._content(archive, entry, inner)
        if content is None:
            return
        if self._judge is not None and self._judge(entry.name, inner, content):
            return
        if len(content) == 0:  # an empty marker file in an archive holds nothing
            if _EXECUTABLE_NAME.search(entry.name) and not entry.name.endswith("__init__.py"):
                self._add("file.executable-name", "a loader could run a file of this name", inner)
            return
        self.inspect(content, inner, entry.name, depth + 1)

    def _content(
        self, archive: ZipArchive | TarArchive, entry: Member, inner: str
    ) -> memoryview | None:
        """Return a member's bytes, expanded and verified; None after a finding."""
        if not self._account(entry.size, inner):
            return None
        try:
            stored = archive.stored(entry)
            if stored is not None:
                return stored
            return gather(archive.chunks(entry), max(entry.packed, 1), self._archive)
        except VallumError as error:
            self._add(error.code, error.message, inner)
            return None

    def _torch(self, archive: ZipArchive, root: str, member: str, depth: int) -> str:
        """Judge a torch zip: pickles, their storages, TorchScript source, and the rest."""
        self._findings.code_capable = True
        entries = {entry.name.removeprefix(root): entry for entry in archive.files()}
        script = any(name.startswith("code/") for name in entries)
        storages: dict[str, int] = {}
        for folder in _TORCH_PICKLES:
            name = f"{folder}.pkl"
            if name in entries:
                content = self._content(archive, entries[name], _join(member, root + name))
                found = self._torch_pickle(content, _join(member, root + name), script=script)
                storages.update({f"{folder}/{key}": n for key, n in found.storages.items()})
        for name, entry in entries.items():
            if name.removesuffix(".pkl") in _TORCH_PICKLES and name.endswith(".pkl"):
                continue
            inner = _join(member, entry.name)
            if _STORAGE.match(name) and storages.get(name) == entry.size:
                self._drain(archive, entry, inner)
            elif script and name.startswith("code/") and name.endswith(".py"):
                content = self._content(archive, entry, inner)
                scan_torchscript(bytes(content or b""), self._findings, inner)
            else:
                self._entry(archive, entry, member, depth)
        return "torchscript" if script else "torch"

    def _torch_pickle(self, content: memoryview | None, inner: str, *, script: bool) -> PickleFile:
        if content is None:
            return PickleFile("pickle", {})
        return scan_pickle(
            content, self._findings, self._model, member=inner, persistent=True, script=script
        )

    def _drain(self, archive: ZipArchive, entry: Member, inner: str) -> None:
        """Verify a member whose bytes are numbers, without keeping them."""
        if not self._account(entry.size, inner):
            return
        try:
            if archive.stored(entry) is None:
                for _ in archive.chunks(entry):
                    pass
        except VallumError as error:
            self._add(error.code, error.message, inner)

    def _refuse_polyglot(self, data: memoryview, member: str) -> None:
        """Refuse what is an archive or a container to another reader."""
        if is_also_zip(data):
            self._add("file.polyglot", "the file is also a zip archive", member)
        if is_also_tar(data):
            self._add("file.polyglot", "the file is also a tar archive", member)
        self._refuse_hdf5(data, member)

    def _refuse_hdf5(self, data: memoryview, member: str, starts: Iterable[int] = ()) -> None:
        if is_also_hdf5(data, starts):
            self._add("file.polyglot", "the file is also an HDF5 file", member)

    def _quoted(self, member: str, excused: Callable[[Finding], bool]) -> None:
        """Keep what a model card quotes, or a vocabulary has among its words, as information."""
        items = self._findings.items
        for at, one in enumerate(items):
            if one.member == member and excused(one):
                items[at] = msgspec.structs.replace(one, severity="info")

    def _is_doubted(self, member: str) -> bool:
        return any(one.member == member and is_excused(one) for one in self._findings.items)

    def _deeper(self, depth: int, member: str) -> bool:
        if depth >= self._archive.max_depth:
            limit = self._archive.max_depth
            self._add("archive.too-deep", f"archives nested more than {limit} deep", member)
            return False
        return True

    def _account(self, size: int, member: str) -> bool:
        self._share.expanded += size
        limit = self._archive.max_total_bytes
        if self._share.expanded > limit:
            self._add("archive.too-large", f"expanded to more than {limit} bytes", member)
            return False
        return True

    def _fault(self, kind: str, fault: str, member: str) -> str:
        if fault:
            self._add(f"{kind}.malformed", fault, member)
        return kind

    def _add(self, id_: str, message: str, member: str) -> None:
        self._findings.add(id_, message, member=member, atlas=_ATLAS)


def is_torch_root(name: str) -> bool:
    """Whether a member of this name makes its archive one of torch's."""
    return name == "data.pkl" or name.endswith("/data.pkl")


def _zip_kind(names: set[str]) -> str:
    if "schema.json" in names:
        return "skops"
    if {"config.json", "metadata.json"} <= names:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "zip"


def _ends_in_zip_member(tar: TarArchive, data: memoryview) -> bool:
    """Whether a reader that takes the tar for a zip meets a member that is judged as one anyway.

    Such a reader takes the last end record. The member must begin as a zip and end with that
    record, and at the directory's place counted from the tar's start there must be no other.
    """
    start = max(0, len(data) - ZIP_TAIL)
    at = start + bytes(data[start:]).rfind(ZIP_END)
    record = bytes(data[at : at + _ZIP_RECORD])
    if record[:4] != ZIP_END or len(record) < _ZIP_RECORD:
        return False
    end = at + _ZIP_RECORD + int.from_bytes(record[20:22], "little")
    place = int.from_bytes(record[16:20], "little")
    if bytes(data[place : place + 4]) == ZIP_ENTRY or _ZIP64 in bytes(data[at - 20 : at]):
        return False
    return any(
        one.offset + one.size == end and bytes(data[one.offset : one.offset + 4]) == b"PK\x03\x04"
        for one in tar.files()
    )


def _join(member: str, name: str) -> str:
    return f"{member}/{name}" if member else name
