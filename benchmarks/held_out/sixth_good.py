"""The harmless half of the sixth round; each file is written by the library that reads it."""

from collections.abc import Iterator

import numpy as np

from held_out import (
    sixth_beyond,
    sixth_good_files,
    sixth_good_layouts,
    sixth_good_networks,
    sixth_good_tables,
)
from held_out.sixth_asm import Loaded


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    for part in (
        sixth_good_tables,
        sixth_good_networks,
        sixth_good_files,
        sixth_good_layouts,
        sixth_beyond,
    ):
        yield from part.samples(rng)
