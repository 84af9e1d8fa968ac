"""Checkpoints as C2SP signed notes: origin, size and root, under an Ed25519 signature.

Source: C2SP signed-note and tlog-checkpoint specifications.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from vallum.base import IntegrityError
from vallum.crypto import SigningKey, VerifyKey

_ED25519 = b"\x01"
MAX_NOTE_BYTES = 16 * 1024
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A size of the log and its root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def key_hash(name: str, key: VerifyKey) -> bytes:
    """Return the 4 bytes by which a note names its key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + key.to_raw()).digest()[:4]


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> str:
    """Return the signed note of a checkpoint."""
    signature = key_hash(checkpoint.origin, key.verify_key) + key.sign(checkpoint.text.encode())
    encoded = base64.b64encode(signature).decode()
    return f"{checkpoint.text}\n— {checkpoint.origin} {encoded}\n"


def verify_checkpoint(note: str, key: VerifyKey, *, origin: str) -> Checkpoint:
    """Return the checkpoint that a note holds.

    What must hold:
    1. the note is small, has the three lines and a signature block;
    2. its origin is the expected one;
    3. one signature line names this origin and key, and verifies over the text.

    Raises:
        IntegrityError: Any of it does not.
    """
    # 1.
    text, separator, block = note.partition("\n\n")
    lines = (text + "\n").split("\n")
    if len(note) > MAX_NOTE_BYTES or not separator or len(lines) != 4 or lines[3]:  # noqa: PLR2004 - three lines and an end
        raise _bad("has another form")
    if not _SIZE.fullmatch(lines[1]):
        raise _bad("has no size")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except binascii.Error as error:
        raise _bad("has no root") from error
    if len(root) != hashlib.sha256().digest_size:
        raise _bad("has no root")
    # 2.
    if lines[0] != origin:
        raise _bad("is of another log")
    # 3.
    checkpoint = Checkpoint(origin=origin, size=int(lines[1]), root=root)
    wanted = key_hash(origin, key)
    for line in block.split("\n"):
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if mark != "—" or name != origin:
            continue
        try:
            signature = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise _bad("has a malformed signature") from error
        if signature[:4] != wanted:
            continue
        key.verify(signature[4:], checkpoint.text.encode())
        return checkpoint
    raise _bad("is not signed by this log's key")


def _bad(what: str) -> IntegrityError:
    return IntegrityError(f"the checkpoint {what}", code="audit.checkpoint")
