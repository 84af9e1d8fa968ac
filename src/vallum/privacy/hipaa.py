"""The 18 identifiers of HIPAA's Safe Harbor, and what of them is looked for.

Source: 45 CFR 164.514(b)(2)(i), (A) to (R).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Identifier:
    """One of the 18.

    Attributes:
        letter: Of the paragraph.
        name: What it is.
        types: Types that are looked for, or the beginnings of their names; none: not scanned.
        note: What is not found.
    """

    letter: str
    name: str
    types: tuple[str, ...] = ()
    note: str = ""


SAFE_HARBOR = (
    Identifier("A", "names", ("personal.name",), "in free text: of the lexicon, or a model"),
    Identifier("B", "geographic subdivisions smaller than a state",
               ("personal.address", "personal.postcode", "location.city", "location.place",
                "location.coordinates"),
               "in free text: cities and countries"),
    Identifier("C", "dates but the year, ages over 89", ("personal.birth_date", "personal.age"),
               "dates of birth and ages; other dates are not told apart"),
    Identifier("D", "telephone numbers", ("personal.phone",)),
    Identifier("E", "fax numbers", ("personal.phone",), "as telephone numbers"),
    Identifier("F", "electronic mail addresses", ("personal.email",)),
    Identifier("G", "social security numbers", ("government.us.ssn",)),
    Identifier("H", "medical record numbers", ("health.mrn",)),
    Identifier("I", "health plan beneficiary numbers", ("health.us.mbi",),
               "Medicare's; others have no form"),
    Identifier("J", "account numbers", ("financial.",)),
    Identifier("K", "certificate and license numbers",
               ("government.us.driver_license", "health.us.npi", "health.us.dea",
                "government.us.passport")),
    Identifier("L", "vehicle identifiers", ("vehicle.",)),
    Identifier("M", "device identifiers and serial numbers", ("network.mac",),
               "network addresses; serial numbers have no form"),
    Identifier("N", "URLs", ("network.url",)),
    Identifier("O", "IP addresses", ("network.ip",)),
    Identifier("P", "biometric identifiers", (), "needs recordings"),
    Identifier("Q", "full-face photographs", (), "needs pictures"),
    Identifier("R", "any other unique number, characteristic or code",
               ("government.", "security.", "crypto.", "health."),
               "those of the known issuers; a code of one's own needs a person"),
)  # fmt: skip

Status = Literal["found", "not found", "not scanned"]


def safe_harbor(found: Collection[str]) -> tuple[tuple[Identifier, Status], ...]:
    """Tell for each of the 18 whether it is among the types that were `found`."""
    out: list[tuple[Identifier, Status]] = []
    others = set(found)  # (R) is any that is none of the rest
    for one in SAFE_HARBOR:
        matching = {kind for kind in found if one.types and kind.startswith(one.types)}
        if one.letter == "R":
            matching &= others
        others -= matching
        if not one.types:
            out.append((one, "not scanned"))
        elif matching:
            out.append((one, "found"))
        else:
            out.append((one, "not found"))
    return tuple(out)
