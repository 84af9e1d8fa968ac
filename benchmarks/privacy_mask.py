"""Masking a million cells: keyed pseudonyms, surrogates, FF1 and local randomisation, beside loops.

    python benchmarks/privacy_mask.py

Cells repeat as e-mail addresses of a log do (100,000 people, some far busier than others), or all
differ. The loop is `hmac.digest` and hex, cell by cell, which is what a script would do.
"""

import hmac
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from vallum.privacy import mask_table
from vallum.privacy.recipe import Masking, Recipe

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
    local(rng)


def local(rng: np.random.Generator) -> None:
    """Local randomisation, beside OpenDP's own response and noise, a call a cell."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    names = [f"answer {at}" for at in range(8)]
    answers = pl.Series(names, dtype=pl.String).gather(rng.integers(0, 8, CELLS))
    numbers = pl.Series(rng.normal(50, 10, CELLS))
    run(
        "randomised response of 8, epsilon 1", answers, operation="randomized_response",
        categories=tuple(names), epsilon=1.0,
    )  # fmt: skip
    one = dp.m.make_randomized_response(names, np.e / (np.e + 7))
    loop("OpenDP's, a call a cell", one, answers[:50_000].to_list())
    bounded = {"lower": 0.0, "upper": 100.0}
    run("Laplace, epsilon 1", numbers, operation="laplace", **bounded, epsilon=1.0)
    space = dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float)
    loop("OpenDP's, a call a cell", dp.m.make_laplace(*space, 100.0), numbers[:50_000].to_list())
    run("Gaussian, rho 0.5", numbers, operation="gaussian", **bounded, rho=0.5)
    loop("OpenDP's, a call a cell", dp.m.make_gaussian(*space, 100.0), numbers[:50_000].to_list())


def loop(name: str, draw: Callable[[object], object], values: list[object]) -> None:
    begin = time.perf_counter()
    for value in values:
        draw(value)
    print(f"| {name:<44} | {len(values) / (time.perf_counter() - begin):>12,.0f} |")


if __name__ == "__main__":
    main()
