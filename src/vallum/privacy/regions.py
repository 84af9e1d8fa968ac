"""Where in a long text an identifier could be at all: a few passes over its bytes with numpy.

Almost all text is prose. A place is worth a closer look only if a word there has a digit, an `@`,
a `:` or `.` between letters, or is long; the patterns then see those places only. The time grows
with the length, and the memory is about 20 bytes for each byte of a block.
"""

from collections.abc import Iterator

import numpy as np

BLOCK_BYTES = 1 << 20
_GAP = 6  # bytes between two such words that may belong to one identifier: `GB29 NWBK 6016`
_FEWEST = 4  # digits of the shortest number that is looked for
_LONG = 20  # bytes of a word that may be a key

_SPACE, _DIGIT, _LETTER, _AT, _JOIN, _OTHER = range(6)
_CLASSES = np.full(256, _OTHER, dtype=np.uint8)
_CLASSES[np.frombuffer(b" \t\r\n\x0b\x0c\x00\x1c\x1d\x1e\x1f", dtype=np.uint8)] = _SPACE
_CLASSES[48:58] = _DIGIT
_CLASSES[65:91] = _CLASSES[97:123] = _LETTER
_CLASSES[64] = _AT
_CLASSES[np.frombuffer(b".:=", dtype=np.uint8)] = _JOIN


def regions(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) byte ranges, in order, that hold every identifier there may be.

    Args:
        data: UTF-8 text of any length.
    """
    start = 0
    while start < len(data):
        stop = min(start + BLOCK_BYTES, len(data))
        if stop < len(data):  # end a block at a line, so that no identifier is cut
            line = data.rfind(b"\n", start + BLOCK_BYTES // 2, stop)
            stop = stop if line < 0 else line + 1
        for one, other in _in_block(np.frombuffer(data, np.uint8, stop - start, start)):
            yield start + one, start + other
        start = stop


def _in_block(block: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Iterator[tuple[int, int]]:
    classes = _CLASSES[block]
    word = classes != _SPACE
    edges = np.flatnonzero(np.diff(word, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return
    digits = np.add.reduceat(classes == _DIGIT, starts, dtype=np.int32)
    marks = classes == _AT
    # A join counts only with a letter or digit on both sides: no full stop ends up here.
    solid = (classes == _DIGIT) | (classes == _LETTER) | (classes == _OTHER)
    inner = classes[1:-1] == _JOIN
    inner &= solid[:-2] | (classes[:-2] == _JOIN)
    inner &= solid[2:] | (classes[2:] == _JOIN)
    marks[1:-1] |= inner
    hot = np.add.reduceat(marks, starts, dtype=np.int32) > 0
    hot |= (digits > 0) | (ends - starts >= _LONG)
    chosen = np.flatnonzero(hot)
    if not len(chosen):
        return
    # Neighbours within the gap are one place.
    apart = starts[chosen[1:]] - ends[chosen[:-1]] > _GAP
    firsts = np.concatenate(([0], np.flatnonzero(apart) + 1))
    lasts = np.concatenate((firsts[1:], [len(chosen)])) - 1
    counts = np.add.reduceat(digits[chosen], firsts)
    plain = ~np.maximum.reduceat(
        (np.add.reduceat(marks, starts, dtype=np.int32) > 0)[chosen]
        | (ends - starts >= _LONG)[chosen],
        firsts,
    )
    keep = ~(plain & (counts < _FEWEST))
    for first, last in zip(firsts[keep].tolist(), lasts[keep].tolist(), strict=True):
        yield int(starts[chosen[first]]), int(ends[chosen[last]])
