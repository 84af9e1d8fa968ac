"""What a client last saw of a server's log, so that it notices a rewritten or rolled-back one (G7).

One small file a server and certificate authority, under `VALLUM_STATE_DIR` or the user's state
folder (XDG Base Directory specification). The first contact is taken on trust, as SSH does it. The
note is kept whole: its signature is evidence to show others; here the hashes alone decide.
"""

import base64
import binascii
import hashlib
import os
import time
from pathlib import Path

import msgspec

from vallum.base import IntegrityError, UnavailableError, write_atomic
from vallum.base.proofs import HASH_BYTES, verify_consistency
from vallum.schema import Record
from vallum.schema.rules import ConsistencyProof

CHECK_S = 60.0
_MAX_FILE_BYTES = 64 * 1024
_DIGITS = 19
_OFF = "off"


class Seen(Record, frozen=True):
    """The newest checkpoint that was seen."""

    url: str
    origin: str
    size: int
    root: str  # hexadecimal
    note: str


class ServerAnchor:
    """Remembers one server's log in a file; holds when it was last checked."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self._url = url
        self._checked_s = -CHECK_S

    @classmethod
    def of(cls, url: str, ca_file: Path | None) -> "ServerAnchor | None":
        """Return the anchor of a server; None where `VALLUM_STATE_DIR` is `off`."""
        named = os.environ.get("VALLUM_STATE_DIR", "")
        if named == _OFF:
            return None
        if named:
            folder = Path(named)
        else:
            state = os.environ.get("XDG_STATE_HOME", "")
            folder = (Path(state) if state else Path.home() / ".local" / "state") / "vallum"
        authority = b""
        if ca_file is not None:
            try:
                authority = ca_file.read_bytes()
            except OSError as error:
                raise UnavailableError(
                    f"`{ca_file}` cannot be read: {error.strerror}", code="sdk.ca"
                ) from error
        name = hashlib.sha256(url.encode() + b"\0" + authority).hexdigest()[:32]
        return cls(folder / "anchors" / f"{name}.json", url)

    def due(self) -> bool:
        """Tell whether the server must prove its log again, and mark it as asked."""
        now_s = time.monotonic()
        if now_s - self._checked_s < CHECK_S:
            return False
        self._checked_s = now_s
        try:
            age_s = time.time() - self.path.stat().st_mtime
        except OSError:
            return True
        return not 0 <= age_s < CHECK_S

    def read(self) -> Seen | None:
        """Return what was seen last; None before the first contact.

        Raises:
            IntegrityError: The file is damaged.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            return msgspec.json.decode(data, type=Seen)
        except msgspec.DecodeError as error:
            raise IntegrityError(
                f"`{self.path}` is damaged", code="sdk.anchor", hint="vallum audit anchor --forget"
            ) from error

    def advance(self, seen: Seen | None, proof: ConsistencyProof) -> None:
        """Check that the server's log continues what was seen, and remember it.

        Raises:
            IntegrityError: It is another log, was rolled back or rewritten.
            UnavailableError: The file cannot be written.
        """
        now = _parse(self._url, proof.checkpoint)
        if seen is not None:
            if now.origin != seen.origin:
                raise _broken("another workspace answers at this address", "sdk.origin")
            if now.size < seen.size:
                raise _broken(
                    f"its log had {seen.size} entries and now has {now.size}: it was rolled back",
                    "sdk.rollback",
                )
            try:
                path = [bytes.fromhex(one) for one in proof.path]
                verify_consistency(
                    seen.size, bytes.fromhex(seen.root), now.size, bytes.fromhex(now.root), path
                )
            except (IntegrityError, ValueError) as error:
                raise _broken(
                    f"its log does not continue the {seen.size} entries that were seen here",
                    "sdk.fork",
                ) from error
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(self.path, msgspec.json.encode(now))
        except OSError as error:
            raise self._unusable(error) from error

    def forget(self) -> None:
        """Trust the next log that answers."""
        self.path.unlink(missing_ok=True)

    def _unusable(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            f"`{self.path}` cannot be used: {error.strerror}",
            code="sdk.anchor",
            hint="set VALLUM_STATE_DIR to a folder of yours, or to `off`",
        )


def _broken(what: str, code: str) -> IntegrityError:
    return IntegrityError(
        f"do not trust this server: {what}",
        code=code,
        hint="ask its operator; after a restore that was announced: vallum audit anchor --forget",
    )


def _parse(url: str, note: str) -> Seen:
    lines = note.split("\n")
    try:
        origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    except (IndexError, binascii.Error) as error:
        raise _broken("its checkpoint has another form", "sdk.checkpoint") from error
    if not (
        size.isascii() and size.isdecimal() and len(size) <= _DIGITS and len(root) == HASH_BYTES
    ):
        raise _broken("its checkpoint has another form", "sdk.checkpoint")
    return Seen(url=url, origin=origin, size=int(size), root=root.hex(), note=note)
