"""The hostile half of the sixth round; written without a look at the scanner or its tests."""

from collections.abc import Iterator

import numpy as np

from held_out import (
    sixth_containers,
    sixth_formats,
    sixth_gadgets,
    sixth_libraries,
    sixth_opcodes,
    sixth_texts,
    sixth_upstream,
)
from held_out.sixth_asm import Loaded


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    for part in (
        sixth_gadgets,
        sixth_libraries,
        sixth_opcodes,
        sixth_containers,
        sixth_formats,
        sixth_texts,
        sixth_upstream,
    ):
        yield from part.samples(rng)
