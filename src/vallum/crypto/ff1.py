"""FF1: encryption that keeps the form. Key-free functions of key, tweak and numerals.

The cipher underneath is AES of `cryptography`, asked for many values at once. Source: NIST
SP 800-38G revision 1 (February 2025 draft's limits: radix^length at least one million).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from vallum.base import InputError

MIN_DOMAIN = 1_000_000
MAX_LENGTH = 4096
MAX_RADIX = 65536
_ROUNDS = 10
_BLOCK = 16

Numerals = Sequence[int]
Aes = Callable[[bytes], bytes]


def least_length(radix: int) -> int:
    """Return the fewest numerals that FF1 may encrypt at a radix."""
    return max(2, math.ceil(math.log(MIN_DOMAIN) / math.log(radix) - 1e-12))


def encrypt(
    key: bytes, values: Sequence[Numerals], *, radix: int, tweak: bytes = b""
) -> list[list[int]]:
    """Encrypt numerals; each result has the length of its value.

    Args:
        key: 16, 24 or 32 bytes.
        values: Numerals below `radix`, most significant first.
        radix: 2 to 65,536.
        tweak: Public context, such as a column's name.

    Raises:
        InputError: A parameter is out of range, or a value is too short to be safe.
    """
    return _run(key, values, radix, tweak, encrypting=True)


def decrypt(
    key: bytes, values: Sequence[Numerals], *, radix: int, tweak: bytes = b""
) -> list[list[int]]:
    """Undo `encrypt` with the same key, radix and tweak; errors are the same."""
    return _run(key, values, radix, tweak, encrypting=False)


def _run(
    key: bytes, values: Sequence[Numerals], radix: int, tweak: bytes, *, encrypting: bool
) -> list[list[int]]:
    if not 2 <= radix <= MAX_RADIX:  # noqa: PLR2004 - the standard's
        raise InputError("the radix is between 2 and 65,536", code="ff1.radix")
    least = least_length(radix)
    by_length: dict[int, list[int]] = defaultdict(list)
    for at, value in enumerate(values):
        if not least <= len(value) <= MAX_LENGTH:
            raise InputError(
                f"a value of {len(value)} numerals of radix {radix} has too few forms to hide in",
                code="ff1.length",
                hint=f"at least {least} and at most {MAX_LENGTH} are needed",
            )
        if any(not 0 <= numeral < radix for numeral in value):
            raise InputError("a numeral is not below the radix", code="ff1.numeral")
        by_length[len(value)].append(at)
    try:
        # ECB of single blocks is AES itself, the function that FF1 is made of.
        cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    except ValueError as error:
        raise InputError("the key has 16, 24 or 32 bytes", code="ff1.key") from error
    out: list[list[int]] = [[] for _ in values]
    for length, places in by_length.items():
        batch = _Batch(cipher.update, length, radix, tweak)
        found = batch.run([values[at] for at in places], encrypting=encrypting)
        for at, value in zip(places, found, strict=True):
            out[at] = value
    return out


class _Batch:
    """Values of one length; names as in the standard's algorithms 7 and 8."""

    def __init__(self, aes: Aes, length: int, radix: int, tweak: bytes) -> None:
        self._aes = aes
        self._radix = radix
        self._tweak = tweak
        self._u = length // 2
        self._v = length - self._u
        self._b = (math.ceil(self._v * math.log2(radix) - 1e-12) + 7) // 8
        while radix**self._v > 256**self._b:  # the logarithm's last digit is not to be trusted
            self._b += 1
        self._d = 4 * math.ceil(self._b / 4) + 4
        header = bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, self._u % 256])
        p = header + length.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
        self._first = aes(p)
        self._powers = (radix**self._u, radix**self._v)

    def run(self, values: Sequence[Numerals], *, encrypting: bool) -> list[list[int]]:
        left = [self._number(value[: self._u]) for value in values]
        right = [self._number(value[self._u :]) for value in values]
        for step in range(_ROUNDS):
            if encrypting:
                power = self._powers[step % 2]
                masks = self._masks(step, right)
                left, right = right, [(a + y) % power for a, y in zip(left, masks, strict=True)]
            else:
                turn = _ROUNDS - 1 - step
                power = self._powers[turn % 2]
                masks = self._masks(turn, left)
                left, right = [(b - y) % power for b, y in zip(right, masks, strict=True)], left
        return [
            self._numerals(a, self._u) + self._numerals(b, self._v)
            for a, b in zip(left, right, strict=True)
        ]

    def _masks(self, step: int, numbers: Sequence[int]) -> list[int]:
        """Return the round function of every value, their blocks encrypted together."""
        pad = bytes(-(len(self._tweak) + self._b + 1) % _BLOCK)
        start = self._tweak + pad + bytes([step])
        texts = [start + number.to_bytes(self._b, "big") for number in numbers]
        chain = [int.from_bytes(self._first, "big")] * len(numbers)
        blocks = b""
        for place in range(0, len(start) + self._b, _BLOCK):
            mixed = b"".join(
                (state ^ int.from_bytes(text[place : place + _BLOCK], "big")).to_bytes(
                    _BLOCK, "big"
                )
                for state, text in zip(chain, texts, strict=True)
            )
            blocks = self._aes(mixed)
            chain = [
                int.from_bytes(blocks[at : at + _BLOCK], "big")
                for at in range(0, len(blocks), _BLOCK)
            ]
        streams = [state.to_bytes(_BLOCK, "big") for state in chain]
        for more in range(1, math.ceil(self._d / _BLOCK)):
            blocks = self._aes(b"".join((s ^ more).to_bytes(_BLOCK, "big") for s in chain))
            streams = [
                stream + blocks[at * _BLOCK : (at + 1) * _BLOCK]
                for at, stream in enumerate(streams)
            ]
        return [int.from_bytes(stream[: self._d], "big") for stream in streams]

    def _number(self, numerals: Numerals) -> int:
        number = 0
        for numeral in numerals:
            number = number * self._radix + numeral
        return number

    def _numerals(self, number: int, length: int) -> list[int]:
        out = [0] * length
        for at in range(length - 1, -1, -1):
            number, out[at] = divmod(number, self._radix)
        return out
