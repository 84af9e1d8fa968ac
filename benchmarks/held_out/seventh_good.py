"""Round 7, harmless: other estimators, layers, options and layouts than the rounds before."""

from collections.abc import Iterator

import numpy as np

from held_out import Sample, seventh_good_files, seventh_good_networks, seventh_good_tables


def samples(rng: np.random.Generator) -> Iterator[Sample]:
    for part in (
        seventh_good_tables.python,
        seventh_good_tables.numpy_files,
        seventh_good_tables.sklearn,
        seventh_good_tables.boosting,
        seventh_good_tables.skops,
        seventh_good_networks.onnx_files,
    ):
        yield from part(rng)
    for fixed in (
        seventh_good_networks.torch_files,
        seventh_good_networks.scripts,
        seventh_good_networks.keras_files,
        seventh_good_networks.safetensors_files,
        seventh_good_files.configs,
        seventh_good_files.templates,
        seventh_good_files.upstream,
    ):
        yield from fixed()
