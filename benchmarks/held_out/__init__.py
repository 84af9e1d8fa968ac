"""Two corpora made from a seed, written before the scanner was measured on them.

Every sample is bytes that something here writes: a hostile one runs `true` if somebody loads it
in spite of the warning, and nothing here loads one. A sample is one file, or a folder of files.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    category: str
    name: str
    files: dict[str, bytes]


def one(category: str, technique: str, extension: str, data: bytes) -> Sample:
    name = f"{technique}{extension}"
    return Sample(category, name, {name: data})
