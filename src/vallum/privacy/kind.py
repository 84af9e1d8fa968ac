"""What one type of personal or secret data is."""

from collections.abc import Callable
from dataclasses import dataclass

from vallum.privacy import validators as check
from vallum.schema import Label


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of personal or secret data.

    Attributes:
        name: Dotted, from general to particular.
        pattern: RE2, matched against whole values and searched in text.
        validate: Decides on a match.
        names: RE2 on a column's name that supports it; empty: none.
        label: What a column of it deserves.
        weak: Counts only with support: the column's name, or `context` in text.
        direct: Identifies by itself: dropped or pseudonymised by `protect`.
        quasi: Identifies in combination: generalised by `protect`.
        context: RE2 of words near a match in text that support a weak type; empty: it is not
            looked for in text.
        after: The words may also follow the match.
        group: Number of the pattern's group that is the span; 0: all of it.
        unless: RE2 on what follows that makes it something else: `1.2.3.4-rc1`.
        trim: Characters that do not belong to it at its end.
    """

    name: str
    pattern: str
    validate: Callable[[str], bool] = check.always
    names: str = ""
    label: Label = Label.CONFIDENTIAL
    weak: bool = False
    direct: bool = True
    quasi: bool = False
    context: str = ""
    after: bool = False
    group: int = 0
    trim: str = ""
    unless: str = ""
