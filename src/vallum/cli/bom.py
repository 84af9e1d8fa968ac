"""A difference between two bills of materials, for people."""

from vallum.govern import BomDifference


def difference_text(found: BomDifference) -> str:
    """Return a line a fact: `+` what was added, `-` removed, `~` changed."""
    rows = [
        *(("+", one.kind, one.name, one.value) for one in found.added),
        *(("-", one.kind, one.name, one.value) for one in found.removed),
        *(("~", one.kind, one.name, f"{one.before} -> {one.after}") for one in found.changed),
    ]
    if not rows:
        return "no difference"
    lines = ["  ".join(word for word in (sign, kind, name, said) if word)
             for sign, kind, name, said in rows]  # fmt: skip
    return "\n".join(printable(line) for line in lines)


def printable(text: str) -> str:
    """Escape what a terminal would act on: files and models choose their names."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()
