"""How every command speaks: results on stdout, everything else on stderr, one way out.

Rules of output:
- the result, and nothing else, goes to stdout; `--json` prints one object there;
- messages go to stderr, prefixed `vallum:`, with a `hint:` line where a command helps;
- a secret is printed once, by the command that made it, or goes to a 0600 file with `-o`;
- exit codes: 0 done, 1 findings or a gate failed, 2 usage, 3 refused, 4 unavailable or sealed,
  5 integrity broken, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vallum.base import InputError, VallumError
from vallum.schema import Record
from vallum.sdk import DEFAULT_URL, Client, connect


@dataclass(slots=True)
class Session:
    """What the global options said."""

    url: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    as_json: bool = False

    def client(self) -> Client:
        """Connect as the options, the environment or a workspace beside us say."""
        beside = Path("vallum-data.keys")
        known = self.url or self.token_file or "VALLUM_URL" in os.environ
        token = self.token_file
        authority = self.ca_file
        if (
            not known
            and not {"VALLUM_TOKEN", "VALLUM_TOKEN_FILE"} & set(os.environ)
            and (beside / "owner.key").exists()
        ):
            say(f"using the owner's key of {beside}")
            token, authority = beside / "owner.key", beside / "ca.pem"
        return connect(self.url or os.environ.get("VALLUM_URL", DEFAULT_URL), token_file=token,
                       ca_file=authority)  # fmt: skip


SESSION = Session()


def say(text: str) -> None:
    """Tell people something on stderr."""
    sys.stderr.write(f"vallum: {text}\n")


def show(command: str, record: Record | dict[str, object], text: str) -> None:
    """Print a result: `text` for people, or the record as one JSON object."""
    if SESSION.as_json:
        built = record if isinstance(record, dict) else msgspec.to_builtins(record)
        said = {"schema": f"vallum.{command}/1", **built}
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    elif text:
        sys.stdout.write(text.rstrip("\n") + "\n")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return aligned text; an empty table says so."""
    if not rows:
        return "nothing"
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(header[at]), *(len(row[at]) for row in cells)) for at in range(len(header))]
    lines = ["  ".join(name.upper().ljust(widths[at]) for at, name in enumerate(header)).rstrip()]
    for row in cells:
        lines.append("  ".join(cell.ljust(widths[at]) for at, cell in enumerate(row)).rstrip())
    return "\n".join(lines)


def write_out(data: bytes, target: Path | None, *, secret: bool = False) -> None:
    """Write content to a file (atomically), or to stdout if the target is `-` or missing."""
    from vallum.base import write_atomic

    if target is None or str(target) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        write_atomic(target, data, mode=0o600 if secret else 0o644)
    except OSError as error:
        raise InputError(
            f"`{target}` cannot be written: {error.strerror}", code="cli.output"
        ) from error


def check_output(target: Path | None) -> None:
    """Refuse a file that cannot be written before anything is made that would be lost.

    Raises:
        InputError: The folder is missing or closed, or the target is a folder.
    """
    if target is None or str(target) == "-":
        return
    folder = target.parent
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"`{target}` cannot be written", code="cli.output")


def read_file(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="cli.file") from error


def report(error: VallumError) -> int:
    """Tell an error and return its exit code."""
    if SESSION.as_json:
        said = {
            "schema": "vallum.error/1",
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
        }
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    say(error.message)
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    return error.exit_code
