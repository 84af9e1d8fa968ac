"""Notebooks among the files of a model version, shown as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from vallum.base import InputError, NotFoundError
from vallum.base.bounds import MIB
from vallum.sandbox import run_check
from vallum.schema import Ask, AssetVersion, Caller, release
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.table import ALLOWED, SHOW_NOTEBOOK
from vallum.workspace.step import Act, Effect, Length, Step, Work
from vallum.workspace.versions import content_chunks

_MAX_BYTES = 16 * MIB  # as the scan


@dataclass(frozen=True, slots=True)
class _Read:
    version: AssetVersion
    text: release.NotebookText


def _asks(context: Context, args: release.ModelNotebook, caller: Caller) -> Sequence[Ask]:
    version = context.version("model", args.name, args.version)
    return ask("models/versions/content/read", context.version_resource(version))


def _prepare(work: Work, args: release.ModelNotebook) -> _Read:
    version = work.read(lambda context: context.version("model", args.name, args.version))
    part = next((one for one in version.parts if one.part == args.path), None)
    if part is None or not args.path.lower().endswith(".ipynb"):
        known = [one.part for one in version.parts if one.part.lower().endswith(".ipynb")]
        raise NotFoundError(
            f"{version.name}:{version.version} has no such notebook", code="model.notebook",
            hint="it has " + (", ".join(known[:8]) or "none"),
        )  # fmt: skip
    if part.length > _MAX_BYTES:
        raise InputError(f"the notebook exceeds {_MAX_BYTES} bytes", code="model.notebook")
    payload = b"".join(content_chunks(work, version, part))
    text = run_check(
        work.house.runner, SHOW_NOTEBOOK, payload, report_type=release.NotebookText,
        allowed=ALLOWED,
    )  # fmt: skip
    return _Read(version, text)


def _act(act: Act, args: release.ModelNotebook, read: _Read) -> release.NotebookShown:
    version = read.version
    return release.NotebookShown(version.name, version.version, args.path, read.text)


STEPS = (
    Step("model.notebook", release.ModelNotebook, _asks, _act, Effect.READ, length=Length.LONG,
         prepare=_prepare),
)  # fmt: skip
