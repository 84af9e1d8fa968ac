"""The base of every stored, logged or sent record."""

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen value without behaviour; unknown fields are refused when decoding."""


Measure = str
"""A number as decimal text: canonical JSON holds no floats."""
