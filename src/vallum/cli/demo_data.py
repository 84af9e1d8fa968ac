"""The demo's data: 569 real patients' measurements, joined with made-up identities.

Measurements: Wisconsin Diagnostic Breast Cancer (Street, Wolberg, Mangasarian 1993), as
scikit-learn ships it. The identities are drawn from a fixed seed and belong to nobody.
"""

import csv
import io
from datetime import date, timedelta

import numpy as np

_GIVEN = (
    "Ada", "Alan", "Anita", "Barbara", "Carl", "Dorothy", "Edsger", "Emmy", "Florence", "Grace",
    "Hedy", "Ida", "Ivan", "Joan", "John", "Katherine", "Leonhard", "Lise", "Mary", "Niels",
    "Olga", "Pierre", "Rosalind", "Sofia", "Tomas", "Ursula", "Vera", "Werner", "Yulia", "Zora",
)  # fmt: skip
_FAMILY = (
    "Abel", "Baker", "Castro", "Dubois", "Evans", "Fischer", "Garcia", "Hansen", "Ito", "Jensen",
    "Kumar", "Larsen", "Moreau", "Novak", "Olsen", "Petrov", "Quinn", "Rossi", "Silva", "Tanaka",
    "Umar", "Vogel", "Weber", "Xu", "Young", "Zhang",
)  # fmt: skip
_AREAS = ("10", "11", "12", "60", "94")
LABEL = "diagnosis"
SEED = 7


def feature_names() -> list[str]:
    """Return the 30 measurements as column names."""
    from sklearn.datasets import load_breast_cancer

    return [str(name).replace(" ", "_") for name in load_breast_cancer().feature_names]


def patients() -> tuple[bytes, bytes, list[list[float]]]:
    """Return two CSV files, patients to train on and patients held out, and raw rows to score."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(bunch.target))
    half = len(order) // 2
    names = feature_names()
    header = [
        "name", "email", "phone", "social_security_number", "postcode", "birth_date",
        *names, LABEL,
    ]  # fmt: skip
    people = [_person(rng) for _ in order]
    files = []
    for part in (order[:half], order[half:]):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for index in part:
            measured = [f"{value:.6g}" for value in bunch.data[index]]
            writer.writerow([*people[index], *measured, int(bunch.target[index])])
        files.append(text.getvalue().encode())
    rows = [[float(value) for value in bunch.data[index]] for index in order[half : half + 64]]
    return files[0], files[1], rows


def _person(rng: np.random.Generator) -> list[str]:
    given, family = str(rng.choice(_GIVEN)), str(rng.choice(_FAMILY))
    number = int(rng.integers(10, 99))
    born = date(1935, 1, 1) + timedelta(days=int(rng.integers(0, 365 * 55)))
    postcode = str(rng.choice(_AREAS)) + f"{int(rng.integers(0, 1000)):03d}"
    phone = f"+1 212 555 {int(rng.integers(100, 10000)):04d}"
    area, group, serial = rng.integers(100, 666), rng.integers(1, 99), rng.integers(1, 9999)
    ssn = f"{int(area):03d}-{int(group):02d}-{int(serial):04d}"
    email = f"{given}.{family}{number}@example.org".lower()
    return [f"{given} {family}", email, phone, ssn, postcode, born.isoformat()]
