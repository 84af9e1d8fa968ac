"""The nouns of a workspace as attributes of a client; their verbs are methods.

Every method runs one step on the server and returns its record. `dry_run=True` decides and
checks everything and changes nothing.
"""

import base64
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from vallum.base import InputError
from vallum.schema import (
    Asset,
    Job,
    JobLimits,
    JobPrivacy,
    api,
    release,
)
from vallum.sdk.transport import CHUNK_BYTES, Transport

Source = Path | str | bytes | BinaryIO


class Noun:
    """Holds the connection. Lists come in the order of names, not in that of random ids."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _pages(self, step: str) -> Iterator[api.Listing]:
        after = ""
        while True:
            page = self._transport.call(step, api.Page(after=after), api.Listing)
            yield page
            if not page.after:
                return
            after = page.after


class Models(Noun):
    """Models."""

    def register(
        self,
        name: str,
        source: Source,
        *,
        label: str = "",
        lineage: Sequence[str] = (),
        description: str = "",
        tags: Mapping[str, str] | None = None,
        card: bytes = b"",
        convert: bool = False,
        data: str = "",
        features: Sequence[str] = (),
        bundle: bytes = b"",
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Register a file or folder as a new version; the server scans it first.

        `bundle` is a model signature over exactly that, by a release key of yours.

        `card` is its model card, Markdown; else a `README.md` or `MODEL_CARD.md` of the folder is.

        With `convert`, the version holds the model as ONNX, made in a sandbox, and the evidence of
        how far it is from the original, measured on the data version `data` as well if it is given.
        """
        path = Path(source) if isinstance(source, Path | str) else None
        folder = path is not None and path.is_dir()
        file_name = "model.onnx" if path is None else path.name
        arguments = api.ModelRegister(
            name=name,
            file_name="" if folder else file_name,
            folder=folder,
            label=label,
            lineage=tuple(lineage),
            description=description,
            tags=dict(tags or {}),
            card_bytes=len(card),
            convert=convert,
            data=data,
            features=tuple(features),
            bundle_bytes=len(bundle),
        )
        given = pack(path) if folder and path is not None else source
        with opened(given) as content:
            body = after(card + bundle, content) if card or bundle else content
            return self._transport.call(
                "model.register", arguments, api.VersionShown, content=body, dry_run=dry_run
            )

    def list(self) -> list[Asset]:
        """Return every model that you may read."""
        return by_name(asset for page in self._pages("model.list") for asset in page.assets)

    def show(self, name: str, version: int | None = None) -> api.VersionShown:
        """Return a version and the verdicts about it."""
        return self._transport.call(
            "model.show", api.Named(name=name, version=version), api.VersionShown
        )

    def card(self, name: str, version: int | None = None) -> str:
        """Return the model card of a version, Markdown."""
        arguments = api.Named(name=name, version=version)
        return self._transport.call("model.card", arguments, release.CardShown).text

    def notebook(self, name: str, path: str, version: int | None = None) -> release.NotebookShown:
        """Return a notebook among the files of a version as text; its markup is not shown."""
        arguments = release.ModelNotebook(name=name, path=path, version=version)
        return self._transport.call("model.notebook", arguments, release.NotebookShown)

    def stream(self, name: str, version: int | None = None) -> Iterator[bytes]:
        """Yield a version as a tar archive, chunk by chunk."""
        return self._transport.download("model.download", api.Named(name=name, version=version))

    def download(self, name: str, version: int | None = None) -> bytes:
        """Return a version as a tar archive."""
        return b"".join(self.stream(name, version))

    def bom(self, name: str, version: int | None = None) -> bytes:
        """Return a version's bill of materials: CycloneDX 1.6, JSON.

        Data sets and jobs of its lineage are named where you may read their records.
        """
        arguments = api.Named(name=name, version=version)
        return b"".join(self._transport.download("model.bom", arguments))

    def provenance(self, name: str, version: int | None = None, *, key: bool = False) -> bytes:
        """Return how a version was made: SLSA provenance, in-toto, signed (DSSE), one line.

        With `key`, the public key that checks it, as PEM. What you may not read is withheld.
        """
        arguments = release.ModelProvenance(name=name, version=version, key=key)
        return b"".join(self._transport.download("model.provenance", arguments))

    def check_provenance(
        self, name: str, version: int | None = None, *, envelope: bytes
    ) -> api.Done:
        """Check that the workspace signed a statement, and about exactly this version."""
        arguments = release.ModelProvenanceCheck(
            name=name, version=version, envelope=base64.b64encode(envelope).decode()
        )
        return self._transport.call("model.check-provenance", arguments, api.Done)

    def sign(
        self,
        name: str,
        version: int | None = None,
        *,
        bundle: bytes = b"",
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Sign a version with the workspace's release key, or attach your own bundle."""
        arguments = api.ModelSign(
            name=name, version=version, bundle=base64.b64encode(bundle).decode()
        )
        return self._transport.call("model.sign", arguments, api.VersionShown, dry_run=dry_run)

    def verify(self, name: str, version: int | None = None, *, dry_run: bool = False) -> api.Done:
        """Read every byte of a version and check digests and signatures; leaves evidence."""
        return self._transport.call(
            "model.verify", api.Named(name=name, version=version), api.Done, dry_run=dry_run
        )

    def test(
        self,
        name: str,
        version: int | None = None,
        *,
        holdout: str,
        label_column: str,
        data: str = "",
        features: Sequence[str] = (),
        segments: Sequence[str] = (),
        suite: str = "quick",
        access: str = "gradients",
        budget_s: int = 60,
        dry_run: bool = False,
    ) -> api.VersionShown:
        """Attack a version, and measure how well it does, over all and by segment.

        Args:
            name: Of the model.
            version: The newest if not given.
            holdout: Data version that the model was not trained on.
            label_column: Its column of classes.
            data: The training data; without it nothing is known of membership and inversion.
            features: Columns in the model's order; every numeric one if empty.
            segments: Columns whose values `fairness` compares.
            suite: `quick`, `standard` or `full`.
            access: What an attacker sees at most: `gradients`, `scores` or `labels`.
            budget_s: Seconds of the attacks.
            dry_run: Test, and keep nothing.
        """
        arguments = api.ModelTest(
            name=name,
            version=version,
            data=data,
            holdout=holdout,
            label_column=label_column,
            features=tuple(features),
            segments=tuple(segments),
            suite=suite,
            access=access,
            budget_s=budget_s,
        )
        return self._transport.call("model.test", arguments, api.VersionShown, dry_run=dry_run)

    def report(self, name: str, version: int | None = None) -> bytes:
        """Return the report of a version's last test, JSON."""
        arguments = api.Named(name=name, version=version)
        return b"".join(self._transport.download("model.report", arguments))

    def alias(
        self, name: str, alias: str, version: int | None = None, *, dry_run: bool = False
    ) -> api.VersionShown:
        """Point an alias at a version; `name@alias` names it from then on."""
        arguments = release.ModelAlias(name=name, alias=alias, version=version)
        return self._transport.call("model.alias", arguments, api.VersionShown, dry_run=dry_run)

    def unalias(self, name: str, alias: str, *, dry_run: bool = False) -> api.Done:
        """Remove an alias."""
        arguments = release.ModelUnalias(name=name, alias=alias)
        return self._transport.call("model.unalias", arguments, api.Done, dry_run=dry_run)

    def update(
        self,
        name: str,
        version: int | None = None,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        remove_tags: Sequence[str] = (),
        dry_run: bool = False,
    ) -> release.ModelTexts:
        """Change description and tags: of the model, or of one version if it is named.

        Args:
            name: Of the model, or NAME:VERSION.
            version: Of the version that is meant, instead.
            description: Stays as it is if not given.
            tags: To be set; the others stay.
            remove_tags: Names of those to be removed.
            dry_run: Check everything, change nothing.
        """
        arguments = release.ModelUpdate(
            name=name, version=version, description=description, tags=dict(tags or {}),
            remove_tags=tuple(remove_tags),
        )  # fmt: skip
        return self._transport.call("model.update", arguments, release.ModelTexts, dry_run=dry_run)

    def delete(self, name: str, version: int | None = None, *, dry_run: bool = False) -> api.Done:
        """Delete a model, or one version."""
        return self._transport.call(
            "model.delete", api.Named(name=name, version=version), api.Done, dry_run=dry_run
        )


class Jobs(Noun):
    """Jobs in the sandbox."""

    def submit(
        self,
        name: str,
        code: Path | str | bytes,
        *,
        entry: str,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        limits: JobLimits | None = None,
        privacy: JobPrivacy | None = None,
        dry_run: bool = False,
    ) -> Job:
        """Queue a job: `code` is a folder (or a tar), `entry` the file in it to run.

        `privacy` is charged to its one data input's budget before it is queued.
        """
        arguments = api.JobSubmit(
            name=name,
            entry=entry,
            inputs=dict(inputs or {}),
            outputs=dict(outputs or {}),
            parameters=dict(parameters or {}),
            limits=JobLimits() if limits is None else limits,
            privacy=privacy,
        )
        content = code if isinstance(code, bytes) else pack(Path(code), code=True)
        return self._transport.call(
            "job.submit", arguments, api.JobShown, content=content, dry_run=dry_run
        ).job

    def list(self) -> list[Job]:
        """Return every job that you may read."""
        return by_name(one for page in self._pages("job.list") for one in page.jobs)

    def show(self, name: str) -> Job:
        """Return a job."""
        return self._transport.call("job.show", api.Named(name=name), api.JobShown).job

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield a job's output chunk by chunk."""
        return self._transport.download("job.logs", api.Named(name=name))

    def logs(self, name: str) -> bytes:
        """Return a job's output."""
        return b"".join(self.stream(name))

    def cancel(self, name: str, *, dry_run: bool = False) -> api.Done:
        """Cancel a job."""
        return self._transport.call("job.cancel", api.Named(name=name), api.Done, dry_run=dry_run)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def by_name(found: Iterable[N]) -> list[N]:
    """Return things in the order of their names."""
    return sorted(found, key=lambda one: one.name)


def pack(path: Path, *, code: bool = False) -> BinaryIO:
    """Return a tar archive of a folder's regular files, or of one file, in a fixed order.

    It is made while it is read, so that the memory it takes does not depend on the files.

    Args:
        path: The folder or file.
        code: Leave out what Python compiled beside it.
    """
    return Joined(_packed(path, code=code))


def _packed(path: Path, *, code: bool) -> Iterator[bytes]:
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if code:
        files = [one for one in files if "__pycache__" not in one.relative_to(path).parts]
    root = path if path.is_dir() else path.parent
    for file in files:
        with opened(file) as content:
            header = tarfile.TarInfo(file.relative_to(root).as_posix())
            header.size = os.fstat(content.fileno()).st_size
            header.mode = 0o600
            yield header.tobuf(tarfile.PAX_FORMAT)
            rest = header.size
            while rest:
                chunk = content.read(min(rest, CHUNK_BYTES))
                if not chunk:
                    raise InputError(f"`{file}` became shorter while it was read", code="sdk.file")
                rest -= len(chunk)
                yield chunk
            yield bytes(-header.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


class Joined(io.RawIOBase, BinaryIO):
    """Pieces as one content, read once and forwards."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        if size < 0:
            taken, self._held = self._held + b"".join(self._pieces), b""
            return taken
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._held = piece
        taken, self._held = self._held[:size], self._held[size:]
        return taken


def after(first: bytes, content: BinaryIO) -> BinaryIO:
    """Return content that comes after some bytes."""

    def pieces() -> Iterator[bytes]:
        yield first
        while chunk := content.read(CHUNK_BYTES):
            yield chunk

    return Joined(pieces())


def opened(source: Source) -> BinaryIO:
    """Return what is uploaded, open for reading."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, Path | str):
        return source
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise InputError(f"`{source}` cannot be read: {error.strerror}", code="sdk.file") from error
