"""Round 5, hostile: what an independent judge would gather; the parts are in `fifth_*`.

Written without a look at the scanner and never scanned while it was written. A seed draws which
gadgets of the tables are used and in what protocol and setting; every other sample is always there.
"""

from collections.abc import Iterator

import numpy as np

from held_out import fifth_containers, fifth_formats, fifth_opcodes
from held_out.fifth_asm import Checked, dotted, hidden, made
from held_out.fifth_gadgets import tables

DRAWN = 0.4  # of the gadgets: they are many, and one more of a kind says little


def calls(rng: np.random.Generator) -> Iterator[Checked]:
    endings = (".pkl", ".pickle", ".bin", ".dat", ".sav", ".model")
    for at, (category, name, value, loads) in enumerate(tables()):
        drawn, low, ending = rng.random(), int(rng.integers(0, 6)), int(rng.integers(0, 6))
        if drawn > DRAWN:
            continue
        protocol = 2 if loads == "old" else max(low, 4) if dotted(value) else low
        body = value if loads == "old" else hidden(value, at)
        try:
            data = made(body, protocol)
        except UnicodeEncodeError:
            data = made(body, 4)
        full = f"{name}_p{protocol}{endings[ending]}"
        yield Checked(category, full, {full: data}, loads)


def samples(rng: np.random.Generator) -> Iterator[Checked]:
    yield from calls(rng)
    for part in (fifth_opcodes, fifth_containers, fifth_formats):
        yield from part.samples(rng)
