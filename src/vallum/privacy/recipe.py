"""Masking recipes: what each operation needs, as a file says it, and what the local ones cost."""

from typing import Literal

import msgspec

from vallum.base import InputError
from vallum.privacy.discover import Discovery
from vallum.privacy.dp.cost import Cost, add
from vallum.privacy.dp.local import (
    BoundedNoise,
    RandomizedResponse,
    bounded_noise,
    randomized_response,
)
from vallum.schema import Record

Operation = Literal[
    "bucket", "date_shift", "drop", "ff1", "gaussian", "generalise", "keep", "laplace", "partial",
    "pseudonym", "randomized_response", "redact", "spans", "surrogate", "truncate",
]  # fmt: skip
Replacement = Literal["type", "pseudonym", "surrogate"]
REVERSIBLE = ("ff1", "date_shift")
LOCAL_OPERATIONS = ("gaussian", "laplace", "randomized_response")


class Masking(Record, frozen=True, omit_defaults=True):
    """What happens to one column; each operation reads its own fields."""

    column: str
    operation: Operation
    length: int = 4  # `truncate`: characters that stay
    type: str = ""  # `surrogate`: the form, as discovered
    alphabet: Literal["digits", "alphanumeric"] = "digits"  # `ff1`: what is encrypted
    subject: str = ""  # `date_shift`: column of the person, all of whose dates move alike
    days: int = 365  # `date_shift`: at most so many, to either side
    width: float = 0.0  # `bucket`: of each, from 0
    bounds: tuple[float, ...] = ()  # `bucket`: rising, instead of `width`
    level: int = 1  # `generalise`: of the automatic hierarchy
    replacement: Replacement = "type"  # `spans`: what stands for a span
    categories: tuple[str, ...] = ()  # `randomized_response`: all that an answer may be
    other: str = ""  # `randomized_response`: category for values outside; else they are refused
    lower: float | None = None  # `laplace`, `gaussian`: smaller values are raised to it
    upper: float | None = None  # `laplace`, `gaussian`: larger values are lowered to it
    epsilon: float = 0.0  # local ones: loss of one value
    rho: float = 0.0  # `gaussian`: zero-concentrated loss of one value, instead of epsilon
    delta: float = 0.0  # `gaussian` with `epsilon`: chance that it does not hold
    missing: str | float | None = None  # local ones: stands for nulls; else they are refused


class Recipe(Record, frozen=True):
    """A masking recipe: `vallum.mask/1`. A column that it does not name is kept."""

    version: Literal["vallum.mask/1"]
    columns: tuple[Masking, ...] = ()
    order: Literal["sorted", "keep"] = "sorted"


# What HIPAA's Safe Harbor leaves of them (45 CFR 164.514(b)(2)); ages by decade.
_SUGGESTED = {
    "personal.age": Masking(column="", operation="bucket", width=10.0),
    "personal.birth_date": Masking(column="", operation="truncate", length=4),
    "personal.postcode": Masking(column="", operation="truncate", length=3),
}


def parse_recipe(document: object) -> Recipe:
    """Check a recipe that a bounded reader has turned into plain values.

    Raises:
        InputError: A field is missing, unknown or of another form.
    """
    try:
        return msgspec.convert(document, Recipe)
    except msgspec.ValidationError as error:
        told = str(error)[:200]
        hint = "`vallum mask FILE --suggest` writes one"
        if "got `str`" in told:
            hint = "a number without quotes; YAML reads 1.0e-6 as one, and 1e-6 as text"
        elif "Expected `str`" in told:
            hint = 'text in quotes, as in categories: ["0", "1"]'
        raise InputError(
            f"the recipe does not fit: {told}", code="mask.recipe", hint=hint
        ) from error


def recipe_schema() -> str:
    """Return docs/reference/mask-recipe.schema.json."""
    schema = msgspec.json.schema(Recipe)
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def suggest_recipe(discovery: Discovery) -> Recipe:
    """Return a recipe that leaves no discovered value: pseudonyms for what identifies."""
    columns = []
    for found in discovery.columns:
        if not found.type:
            continue
        mostly = found.share >= 0.5  # noqa: PLR2004 - more than half of it is that type
        one = Masking(column=found.name, operation="redact")
        if found.type.startswith("security."):
            pass
        elif mostly and found.type in _SUGGESTED:
            one = msgspec.structs.replace(_SUGGESTED[found.type], column=found.name)
        elif mostly and found.direct:
            one = Masking(column=found.name, operation="pseudonym")
        elif not mostly and not found.quasi:
            one = Masking(column=found.name, operation="spans")
        columns.append(one)
    return Recipe(version="vallum.mask/1", columns=tuple(columns))


def local_mechanism(masking: Masking) -> RandomizedResponse | BoundedNoise:
    """Return the mechanism of a local operation, which also estimates from its results.

    Raises:
        InputError: The operation is not local, or a field is missing, out of range or of another.
        UnavailableError: The extra `dp` is not installed.
    """
    try:
        if masking.operation == "randomized_response":
            if masking.rho or masking.delta:
                raise InputError("it spends `epsilon` alone", code="mask.local")
            missing = masking.missing
            if not isinstance(missing, str | None):
                raise InputError("`missing` must be one of the `categories`", code="mask.local")
            return randomized_response(
                masking.categories,
                epsilon=masking.epsilon,
                other=masking.other,
                missing=missing or "",
            )
        if masking.operation not in LOCAL_OPERATIONS:
            raise InputError("it is not a local operation", code="mask.local")
        if masking.lower is None or masking.upper is None:
            raise InputError(
                "it needs `lower` and `upper`: a bound never comes from the data",
                code="mask.local",
            )
        if isinstance(masking.missing, str):
            raise InputError("`missing` must be within the bounds", code="mask.local")
        return bounded_noise(
            "laplace" if masking.operation == "laplace" else "gaussian",
            lower=masking.lower,
            upper=masking.upper,
            epsilon=masking.epsilon,
            rho=masking.rho,
            delta=masking.delta,
            missing=masking.missing,
        )
    except InputError as error:
        raise InputError(
            f"`{masking.operation}` of `{masking.column}`: {error}",
            code=error.code,
            hint=error.hint,
        ) from error


def local_costs(recipe: Recipe) -> dict[str, Cost]:
    """Return what one row costs, a column; under the empty name the sum, if there are any.

    Raises:
        InputError: A local operation of the recipe is not well declared.
        UnavailableError: The extra `dp` is not installed.
    """
    costs = {
        one.column: local_mechanism(one).cost
        for one in recipe.columns
        if one.operation in LOCAL_OPERATIONS
    }
    return {**costs, "": add(list(costs.values()))} if costs else {}
