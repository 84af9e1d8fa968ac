#!/usr/bin/env python3
"""Verify an unpacked audit export with the standard library and `cryptography` alone.

    python verify_export.py FOLDER [--key key.pem] [--anchor note]

Stands alone on purpose: it imports nothing of Vallum, so that somebody who trusts neither the
operator nor Vallum's code can check the log. Format: docs/spec/log.md. Exit code 0: everything
held; 5: something does not, each finding on a line with its position.
"""

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The tree over leaves seen so far, as roots of perfect subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf."""
        height, node = 0, leaf_hash(leaf)
        while self._subtrees and self._subtrees[-1][0] == height:
            node = node_hash(self._subtrees.pop()[1], node)
            height += 1
        self._subtrees.append((height, node))
        self.size += 1

    def root(self) -> bytes:
        """Return the root."""
        if not self._subtrees:
            return hashlib.sha256(b"").digest()
        node = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            node = node_hash(left, node)
        return node


def read_note(note: str, key: Ed25519PublicKey, origin: str) -> tuple[int, bytes]:
    """Return size and root of a C2SP signed note.

    Raises:
        ValueError: It is malformed, of another log, or not signed by `key`.
    """
    text, separator, block = note.partition("\n\n")
    text += "\n"
    lines = text.split("\n")
    if not separator or len(lines) != 4 or lines[0] != origin:
        raise ValueError("the note is malformed or of another log")
    name = hashlib.sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]
    for line in block.split("\n"):
        if not line.startswith(f"— {origin} "):
            continue
        signature = base64.b64decode(line.rpartition(" ")[2], validate=True)
        if signature[:4] != name:
            continue
        try:
            key.verify(signature[4:], text.encode())
        except InvalidSignature:
            raise ValueError("the signature does not verify") from None
        return int(lines[1]), base64.b64decode(lines[2], validate=True)
    raise ValueError("the note is not signed by this key")


def verify(folder: Path, key_file: Path | None, anchor_file: Path | None) -> list[str]:
    """Return everything that does not hold."""
    findings: list[str] = []
    manifest = json.loads((folder / "manifest.json").read_bytes())
    if manifest.get("format") != "vallum.audit-export/1":
        return ["the export has another format"]
    key = load_pem_public_key((key_file or folder / "key.pem").read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        return ["the key is not Ed25519"]
    notes = {"the checkpoint": (folder / "checkpoint").read_text()}
    if anchor_file is not None:
        notes["the anchor"] = anchor_file.read_text()
    seen: list[tuple[str, int, bytes]] = []
    for what, note in notes.items():
        try:
            seen.append((what, *read_note(note, key, manifest["origin"])))
        except ValueError as error:
            findings.append(f"{what}: {error}")
    tree = Tree()
    data = (folder / "leaves.bin").read_bytes()
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        leaf = data[at + 4 : at + 4 + length]
        if len(leaf) != length or not length:
            findings.append(f"entry {tree.size} is cut")
            break
        at += 4 + length
        tree.append(leaf)
        try:
            json.loads(leaf)
        except ValueError:
            findings.append(f"entry {tree.size - 1} is not JSON")
        for what, size, root in seen:
            if size == tree.size and root != tree.root():
                findings.append(f"the first {size} entries are not those of {what}")
    for what, size, _ in seen:
        if size > tree.size:
            findings.append(f"{what} has {size} entries, the export {tree.size}")
    if seen and tree.size > seen[0][1]:
        findings.append(f"entries from {seen[0][1]} on are beyond the checkpoint")
    if tree.size != manifest["size"]:
        findings.append(f"the manifest says {manifest['size']} entries, found {tree.size}")
    return findings


def main() -> int:
    """Read the arguments and verify."""
    parser = argparse.ArgumentParser(description="Verify an unpacked Vallum audit export.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path, help="the log's key as you know it (PEM)")
    parser.add_argument("--anchor", type=Path, help="a signed note that you kept")
    arguments = parser.parse_args()
    try:
        findings = verify(arguments.folder, arguments.key, arguments.anchor)
    except (OSError, ValueError, KeyError) as error:
        print(f"verify_export: the export cannot be read: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(f"verify_export: {finding}", file=sys.stderr)
    if not findings:
        print("everything held")
    return 5 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
