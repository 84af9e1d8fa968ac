"""The door of the room: an opened layout and rules in, a report and facts out.

Nothing of an image is executed, unpacked or trusted by its name. Never raises on any bytes of a
layout that could be opened: what breaks a reader is a finding.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from msgspec import structs

from vallum.base.bounds import IMAGE, ArchiveBounds, ImageBounds
from vallum.base.errors import InputError, LimitExceededError, VallumError
from vallum.formats import TarEntry, View, read_tar, release
from vallum.scan.image.documents import (
    ATTESTATION,
    INDEXES,
    MANIFESTS,
    Config,
    Descriptor,
    Manifest,
    Platform,
    as_config,
    as_index,
    as_manifest,
    read_document,
)
from vallum.scan.image.hidden import search_config, search_file
from vallum.scan.image.judge import (
    REGISTRY,
    judge_base,
    judge_files,
    judge_packages,
    judge_report,
    judge_user,
    shown,
    waive,
)
from vallum.scan.image.layout import Layout
from vallum.scan.image.packages import is_record, take_inventory
from vallum.scan.image.reports import Report
from vallum.scan.image.rules import ImageRules
from vallum.scan.image.signature import is_signature, signatures_of, verify_signatures
from vallum.scan.image.tree import Tree
from vallum.scan.packed import expand_stream, packing
from vallum.scan.report import FileReport, Findings
from vallum.schema import ImageFacts

_LIMIT = 2_000  # findings of one image
_CHUNK = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageReport:
    """One image.

    Attributes:
        file: The verdict and its findings; `sha256` is the digest of what was named.
        images: Facts about each platform's image.
    """

    file: FileReport
    images: tuple[ImageFacts, ...]


def scan_image(
    name: str,
    layout: Layout,
    rules: ImageRules,
    *,
    digest: str = "",
    reports: Sequence[Report] = (),
    bounds: ImageBounds = IMAGE,
) -> ImageReport:
    """Judge the image of a layout.

    Args:
        name: For the report.
        layout: Opened.
        rules: What the image must be.
        digest: Of the manifest or index that is meant. Without it there must be one image only,
            and that it was not named by its digest is a finding.
        reports: What other scanners found about it.
        bounds: On all that is read.

    Raises:
        InputError: The layout holds no such image, or several and none was named.
    """
    return _Scan(layout, rules, bounds).run(name, digest, reports)


class _Scan:
    """One scan: its bounds count over all images of an index."""

    def __init__(self, layout: Layout, rules: ImageRules, bounds: ImageBounds) -> None:
        self._layout = layout
        self._rules = rules
        self._bounds = bounds
        self._findings = Findings(limit=_LIMIT, code_capable=True)
        self._expanded = 0
        self._kept = 0

    def run(self, name: str, digest: str, reports: Sequence[Report]) -> ImageReport:
        meant = self._choose(digest)
        facts: list[ImageFacts] = []
        if not digest:
            text = f"the image was not named by its digest ({meant.digest}); a tag can be moved"
            self._findings.add("image.not-pinned", text, severity="medium", atlas=REGISTRY)
        signers = self._signers(meant.digest)
        for one in self._guarded(lambda: list(self._images(meant)), "index") or ():
            several = meant.media_type in INDEXES
            prefix = f"{_platform(one)}: " if several else ""
            found = self._guarded(partial(self._image, one, prefix), prefix)
            if found is not None:
                facts.append(structs.replace(found, signers=signers))
        if not facts and not self._findings.items:
            self._findings.add("image.empty", "the index names no image")
        named = {meant.digest, *(one.digest for one in facts), *(one.config for one in facts)}
        for report in reports:
            judge_report(report, named, self._findings, self._rules)
        findings = waive(self._findings, self._rules)
        kind = "oci-index" if meant.media_type in INDEXES else "oci-image"
        file = FileReport(
            name, meant.digest.removeprefix("sha256:"), kind, findings.verdict(), findings.sorted()
        )
        return ImageReport(file, tuple(facts))

    def _choose(self, digest: str) -> Descriptor:
        """Return the entry of the index that is meant."""
        listed = [one for one in self._layout.index.manifests or () if not is_signature(one)]
        if digest:
            for one in listed:
                if hmac.compare_digest(one.digest.encode(), digest.encode()):
                    return one
            raise InputError(
                f"the layout holds no image {digest[:80]}", code="image.not-there",
                hint="it holds " + (", ".join(one.digest for one in listed[:4]) or "none"),
            )  # fmt: skip
        digests = list(dict.fromkeys(one.digest for one in listed))
        if len(digests) != 1:
            raise InputError(
                f"the layout holds {len(digests)} images", code="image.which",
                hint="name one: " + ", ".join(f"--digest {one}" for one in digests[:4]),
            )  # fmt: skip
        return listed[0]

    def _images(self, meant: Descriptor) -> Iterator[Descriptor]:
        if meant.media_type not in INDEXES:
            yield meant
            return
        data = self._layout.document(meant.digest, meant.size)
        index = as_index(read_document(data, self._bounds))
        count = 0
        for one in index.manifests or ():
            if (one.annotations or {}).get(ATTESTATION) and _nowhere(one):
                continue  # about an image of this index, and started by nobody
            count += 1
            if count > self._bounds.max_images:
                limit = self._bounds.max_images
                raise LimitExceededError(f"more than {limit} images", code="image.too-many-images")
            yield one

    def _signers(self, digest: str) -> tuple[str, ...]:
        if not self._rules.verifiers:
            text = "no trusted key was given, so no signature was checked"
            self._findings.add("image.signature", text, severity=self._rules.missing("signature"),
                               atlas=REGISTRY)  # fmt: skip
            return ()
        try:
            given = signatures_of(self._layout, digest, self._bounds)
            return verify_signatures(given, digest, self._rules.verifiers)
        except VallumError as error:
            code = error.code if error.code.startswith("image.") else "image.signature"
            self._findings.add(code, error.message, severity="high", atlas=REGISTRY)
            return ()

    def _guarded(self, act: Callable[[], T], place: str) -> T | None:
        """Return what a reader returns; a finding where it breaks."""
        try:
            return act()
        except VallumError as error:
            severity = "critical" if error.code == "image.digest" else "high"
            self._findings.add(error.code, shown(error.message), severity=severity, member=place,
                               atlas=REGISTRY)  # fmt: skip
        except (RecursionError, MemoryError):
            self._findings.add("image.too-complex", "the image is nested beyond what is read",
                               member=place, atlas=REGISTRY)  # fmt: skip
        return None

    def _image(self, descriptor: Descriptor, prefix: str) -> ImageFacts:
        if descriptor.media_type not in MANIFESTS:
            raise InputError(f"`{descriptor.media_type[:80]}` is no image", code="image.form")
        manifest = as_manifest(
            read_document(self._layout.document(descriptor.digest, descriptor.size), self._bounds)
        )
        config = as_config(
            read_document(
                self._layout.document(manifest.config.digest, manifest.config.size), self._bounds
            )
        )
        annotations = {**(descriptor.annotations or {}), **(manifest.annotations or {})}
        search_config(config, annotations, self._findings, self._rules.finder, prefix)
        tree = Tree(self._bounds)
        diff_ids = self._layers(manifest, config, tree, prefix)
        judge_user(config, _content(tree, "etc/passwd"), self._findings, self._rules, prefix)
        judge_files(tree, config, self._findings, self._rules, prefix)
        base = judge_base(diff_ids, annotations, self._findings, self._rules, prefix)
        inventory = take_inventory(self._records(tree, prefix), self._bounds)
        judge_packages(inventory, self._findings, self._rules, prefix)
        return ImageFacts(
            digest=descriptor.digest,
            platform=str(Platform(config.architecture, config.os, config.variant)),
            config=manifest.config.digest,
            layers=tuple(one.digest for one in manifest.layers or ()),
            diff_ids=diff_ids,
            user=config.run.user or "",
            distribution=inventory.distribution,
            base=base,
            created=config.created or "",
            packages=tuple(inventory.packages),
        )

    def _layers(
        self, manifest: Manifest, config: Config, tree: Tree, prefix: str
    ) -> tuple[str, ...]:
        layers, stated = manifest.layers or (), config.rootfs.diff_ids or ()
        if not layers or len(layers) != len(stated):
            text = f"{len(layers)} layers, but the configuration lists {len(stated)}"
            raise InputError(text, code="image.layers")
        if len(layers) > self._bounds.max_layers:
            limit = self._bounds.max_layers
            raise LimitExceededError(f"more than {limit} layers", code="image.too-many-layers")
        for at, (layer, diff_id) in enumerate(zip(layers, stated, strict=True)):
            if layer.urls:
                text = "a layer is to be fetched from elsewhere"
                self._findings.add("image.foreign-layer", text, member=f"{prefix}layers[{at}]",
                                   atlas=REGISTRY)  # fmt: skip
            found = self._layer(layer, at, tree, prefix)
            if not hmac.compare_digest(found, diff_id):
                raise InputError(f"layer {at} is not the one that the configuration lists",
                                 code="image.diff-id")  # fmt: skip
        return stated

    def _layer(self, layer: Descriptor, at: int, tree: Tree, prefix: str) -> str:
        """Read one layer to its last byte, and return the digest of what it holds."""
        data = self._layout.blob(layer.digest, layer.size)
        place = f"{prefix}layers[{at}]"
        total = hashlib.sha256()
        odd = 0
        for entry in read_tar(
            self._chunks(data, total), self._wanted, max_path_bytes=self._bounds.max_path_bytes
        ):
            member = f"{place}/{shown(_plain(entry.path))}"
            kept = entry
            if entry.content is not None:
                search_file(_plain(entry.path), entry.content, member, self._findings,
                            self._rules.finder)  # fmt: skip
                if not _is_kept(entry.path):
                    kept = replace(entry, content=None)
            for one in tree.apply(kept, at):
                odd += 1
                if odd <= _LIMIT:
                    self._findings.add(one.id, one.message, member=member, atlas=REGISTRY)
        return "sha256:" + total.hexdigest()

    def _chunks(self, data: View, total: "hashlib._Hash") -> Iterator[bytes]:
        """Yield a layer's tar, counted and hashed."""
        kind = packing(data)
        if kind in ("gzip", "zstd"):
            bounds = ArchiveBounds(
                max_member_bytes=self._bounds.max_layer_bytes, max_ratio=self._bounds.max_ratio
            )
            chunks = expand_stream(data, kind, bounds)
        elif bytes(data[257:262]) == b"ustar" or not any(bytes(data[:512])):
            chunks = _pieces(data)
        else:
            raise InputError("a layer is neither tar nor tar in gzip or zstd", code="image.layer")
        for chunk in chunks:
            self._expanded += len(chunk)
            if self._expanded > self._bounds.max_total_bytes:
                limit = self._bounds.max_total_bytes
                raise LimitExceededError(f"layers of more than {limit} bytes",
                                         code="image.too-large")  # fmt: skip
            total.update(chunk)
            yield chunk

    def _wanted(self, entry: TarEntry) -> bool:
        """Keep what is searched for secrets, and what lists packages."""
        if _is_kept(entry.path):
            self._kept += entry.size
            return (
                entry.size <= self._bounds.max_database_bytes
                and self._kept <= self._bounds.max_kept_bytes
            )
        return 0 < entry.size <= self._bounds.max_text_bytes

    def _records(self, tree: Tree, prefix: str) -> dict[str, bytes]:
        records: dict[str, bytes] = {}
        for node in tree.nodes():
            if node.entry.kind not in ("file", "link") or not is_record(node.path):
                continue
            found = tree.find(node.path)
            if found is None:
                continue  # a link to nowhere
            if found.entry.content is None:
                text = "what lists installed packages is too large, or a link to elsewhere"
                place = f"{prefix}layers[{node.layer}]/{shown(node.path)}"
                self._findings.add("image.packages-unread", text, member=place, atlas=REGISTRY)
                continue
            records[node.path] = found.entry.content
        return records


def _pieces(data: View) -> Iterator[bytes]:
    for start in range(0, len(data), _CHUNK):
        yield bytes(data[start : start + _CHUNK])
        release(data)


def _platform(one: Descriptor) -> str:
    return shown(str(one.platform or Platform()))[:60] or one.digest[:19]


def _plain(path: str) -> str:
    return "/".join(one for one in path.split("/") if one not in ("", "."))


def _is_kept(path: str) -> bool:
    plain = _plain(path)
    return plain == "etc/passwd" or is_record(plain)


def _content(tree: Tree, path: str) -> bytes:
    found = tree.find(path)
    return b"" if found is None or found.entry.content is None else found.entry.content


def _nowhere(one: Descriptor) -> bool:
    """Tell whether no runtime chooses a manifest, since it names no platform that there is."""
    platform = one.platform
    return platform is not None and (platform.os, platform.architecture) == ("unknown", "unknown")
