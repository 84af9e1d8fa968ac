"""WAV, walked to its last byte.

Source: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0"; RFC 2361.
"""

_CHUNKS = frozenset(
    (b"fmt ", b"data", b"fact", b"LIST", b"PEAK", b"cue ", b"smpl", b"inst", b"bext", b"plst")
)
_PADDING = frozenset((b"JUNK", b"PAD ", b"FLLR", b"junk"))
_PLAIN = frozenset({1, 3, 6, 7, 0xFFFE})  # PCM, floats, A-law, mu-law, and the form that extends


def is_wav(head: bytes) -> bool:
    """Whether a file begins as WAV."""
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"


def wav_fault(data: memoryview) -> str:
    """Return what is wrong with a WAV; empty if nothing is."""
    if int.from_bytes(data[4:8], "little") + 8 != len(data):
        return "the sound does not end with the file"
    at, seen, block = 12, set(), 0
    while at + 8 <= len(data):
        kind = bytes(data[at : at + 4])
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if kind in _PADDING:
            if any(body):
                return "padding that is not zero"
        elif kind not in _CHUNKS or (kind != b"LIST" and kind in seen):
            return "an unknown chunk, or one twice"
        if kind == b"fmt ":
            if length not in (16, 18, 40) or int.from_bytes(body[:2], "little") not in _PLAIN:
                return "an unknown kind of samples"
            block = int.from_bytes(body[12:14], "little")
        if kind == b"data" and (not block or length % block):
            return "samples that are cut short"
        seen.add(kind)
        at += 8 + length
        if length % 2 and at < len(data):
            if data[at]:
                return "padding that is not zero"
            at += 1
    return "" if at == len(data) and {b"fmt ", b"data"} <= seen else "a chunk is cut short"
