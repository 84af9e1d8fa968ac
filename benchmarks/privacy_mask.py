"""Masking a million cells: keyed pseudonyms, surrogates and FF1, beside a plain loop of HMACs.

    python benchmarks/privacy_mask.py

Cells repeat as e-mail addresses of a log do (100,000 people, some far busier than others), or all
differ. The loop is `hmac.digest` and hex, cell by cell, which is what a script would do.
"""

import hmac
import time

import numpy as np
import polars as pl

from vallum.privacy import mask_table
from vallum.privacy.mask import Masking, Recipe

CELLS = 1_000_000
KEY = bytes(range(32))


def run(name: str, values: pl.Series, **masking: object) -> None:
    recipe = Recipe(
        version="vallum.mask/1", columns=(Masking(column="c", **masking),), order="keep"
    )
    frame = pl.DataFrame({"c": values})
    begin = time.perf_counter()
    mask_table(frame, recipe, key=KEY)
    spent = time.perf_counter() - begin
    print(f"| {name:<44} | {len(values) / spent:>12,.0f} |")


def main() -> None:
    rng = np.random.default_rng(1)
    people = (rng.pareto(1.2, CELLS) * 1000).astype(np.int64) % 100_000
    repeated = pl.Series([f"person{one}@example.org" for one in people])
    distinct = pl.Series([f"person{one}@example.org" for one in range(CELLS)])
    cards = pl.Series([f"{one:016d}" for one in people * 7919])
    print(f"{repeated.n_unique():,} of {CELLS:,} repeated cells are distinct\n")
    print("| what                                         | cells a second |\n|---|---:|")
    run("pseudonym, repeated", repeated, operation="pseudonym")
    begin = time.perf_counter()
    _ = [hmac.digest(KEY, one.encode(), "sha256").hex()[:26] for one in repeated]
    print(f"| {'a loop of HMACs':<44} | {CELLS / (time.perf_counter() - begin):>12,.0f} |")
    run("pseudonym, all distinct", distinct, operation="pseudonym")
    run("surrogate e-mail, repeated", repeated, operation="surrogate", type="personal.email")
    run("FF1 of 16 digits, repeated", cards, operation="ff1")
    run("redact, repeated", repeated, operation="redact")


if __name__ == "__main__":
    main()
