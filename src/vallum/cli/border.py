"""How every command speaks: results on stdout, everything else on stderr, one way out.

Rules of output:
- the result, and nothing else, goes to stdout; `--json` prints one object there, for an error
  (usage errors too) one with the schema `vallum.error/1`; without `--json` an error leaves stdout
  empty;
- messages go to stderr, prefixed `vallum:`, with a `hint:` line where a command helps;
- content (a download, an export) goes to stdout, or to a file with `-o`; `--json` needs `-o` there;
- a dry run says so on stderr, and prints what would be the result;
- a secret is printed once, by the command that made it, or goes to a 0600 file with `-o`;
- the exit codes are `EXIT_CODES`.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vallum.base import InputError, RefusedError, VallumError, write_atomic, write_chunks_atomic
from vallum.cli.progress import progress
from vallum.schema import Record
from vallum.sdk import DEFAULT_URL, Client, connect

EXIT_CODES = {
    0: "done",
    1: "findings, or a gate failed",
    2: "usage: the input is unusable, or there is no such thing",
    3: "refused: no right, no evidence, or no valid credential",
    4: "unavailable or sealed; nothing was changed",
    5: "integrity broken: bytes, rows or history are not what was recorded",
    130: "interrupted",
}
ENVIRONMENT = {
    "VALLUM_ADVISORIES": "folder of the advisories that `scan --code` and `--image` match against",
    "VALLUM_CA": "file with the server's certificate authority; `--ca`",
    "VALLUM_DEBUG": "`1` shows the trace of an internal error",
    "VALLUM_KEY_PASSWORD": "password of the private key of `signature sign`",
    "VALLUM_PURPOSE": "what data is read for, where it asks for one; `--purpose`",
    "VALLUM_RAY_ADDRESS": "HOST:PORT of the cluster of `up --batch-engine ray` and"
    " `--ray-replicas`; else each batch and deployment starts a Ray of its own",
    "VALLUM_RAY_TOKEN_FILE": "0600 file with that cluster's token",
    "VALLUM_STATE_DIR": "folder of what clients saw of each log; `off` keeps nothing",
    "VALLUM_TOKEN": "an API key; prefer a file, which other processes cannot read",
    "VALLUM_TOKEN_FILE": "file with an API key, readable by you alone; `--token-file`",
    "VALLUM_TOKEN_PIN": "PIN of the PKCS#11 token of `signature sign` and `up`; `--pin-file`",
    "VALLUM_URL": "address of the server; `--url`; loopback on port 8443 if neither is given",
}


@dataclass(slots=True)
class Session:
    """What the global options said."""

    url: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    purpose: str = ""
    as_json: bool = False
    dry_run: bool = False

    def client(self, transferred: Callable[[int], None] | None = None) -> Client:
        """Connect as the options, the environment or a workspace beside us say.

        Args:
            transferred: Called with the bytes of each chunk of content that was sent.
        """
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
        return connect(
            self.url or os.environ.get("VALLUM_URL", DEFAULT_URL),
            token_file=token,
            ca_file=authority,
            purpose=self.purpose,
            transferred=transferred,
        )


SESSION = Session()


def say(text: str) -> None:
    """Tell people something on stderr."""
    sys.stderr.write(f"vallum: {text}\n")


def hint(text: str) -> None:
    """Tell people on stderr what to type next."""
    sys.stderr.write(f"hint: {text}\n")


def show(command: str, record: Record | dict[str, object], text: str) -> None:
    """Print a result: `text` for people, or the record as one JSON object."""
    if SESSION.dry_run:
        say("dry run: nothing was changed; this would be the result")
    if SESSION.as_json:
        built = record if isinstance(record, dict) else msgspec.to_builtins(record)
        said = {"schema": f"vallum.{command}/1", **built}
        if SESSION.dry_run:
            said["dry_run"] = True
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
    """Write a small result to a file (atomically), or to stdout if the target is `-` or missing."""
    if target is None or str(target) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        if _is_device(target):
            target.write_bytes(data)
            return
        write_atomic(target, data, mode=0o600 if secret else 0o644)
    except OSError as error:
        raise _unwritable(target, error) from error


def check_content(target: Path | None) -> None:
    """Refuse where content cannot go, before any of it is asked for.

    Raises:
        InputError: `--json` would share stdout with the content, or the file cannot be written.
    """
    if SESSION.as_json and (target is None or str(target) == "-"):
        raise InputError(
            "content and `--json` cannot share stdout", code="cli.output", hint="add -o FILE"
        )
    check_output(target)


def content_out(
    command: str, chunks: Iterable[bytes], target: Path | None, *, secret: bool = False
) -> None:
    """Write content chunk by chunk: to a file that is whole or absent, or to stdout.

    Raises:
        InputError: The file cannot be written.
    """
    length = 0
    with progress("receiving", unit="bytes") as advance:

        def counted() -> Iterable[bytes]:
            nonlocal length
            for chunk in chunks:
                length += len(chunk)
                advance(len(chunk))
                yield chunk

        if target is None or str(target) == "-":
            for chunk in counted():
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        try:
            if _is_device(target):
                with target.open("wb") as sink:
                    for chunk in counted():
                        sink.write(chunk)
            else:
                write_chunks_atomic(target, counted(), mode=0o600 if secret else 0o644)
        except OSError as error:
            raise _unwritable(target, error) from error
    show(command, {"file": str(target), "bytes": length}, f"{length} bytes are in {target}")


def _is_device(target: Path) -> bool:
    """Tell whether a target, such as `/dev/null` or a pipe, is written to and never replaced."""
    return target.exists() and not target.is_file() and not target.is_dir()


def _unwritable(target: Path, error: OSError) -> InputError:
    return InputError(f"`{target}` cannot be written: {error.strerror}", code="cli.output")


def check_output(target: Path | None) -> None:
    """Refuse a file that cannot be written before anything is made that would be lost.

    Raises:
        InputError: The folder is missing or closed, or the target is a folder.
    """
    if target is None or str(target) == "-":
        return
    folder = target.parent
    if _is_device(target):
        return
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


def read_private(path: Path) -> bytes:
    """Return the bytes of a file that nobody else can read.

    Raises:
        InputError: It cannot be read, or its mode lets others read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read()
    except OSError as error:
        raise InputError(f"`{path}` cannot be read: {error.strerror}", code="cli.file") from error
    if mode & 0o077:
        raise InputError(f"others may read `{path}`", code="cli.file", hint=f"chmod 600 {path}")
    return data


def report(error: VallumError) -> int:
    """Tell an error and return its exit code."""
    if SESSION.as_json:
        said: dict[str, object] = {
            "schema": "vallum.error/1",
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
        }
        if error.request_id:
            said["request_id"] = error.request_id
        if isinstance(error, RefusedError) and error.missing:
            said["missing"] = [
                {"kind": kind, "id": identity, "text": text}
                for kind, identity, text in error.missing
            ]
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    say(error.message)
    if error.hint:
        hint(error.hint)
    return error.exit_code
