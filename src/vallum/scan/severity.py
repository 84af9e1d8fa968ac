"""CVSS vectors to a score and a word, so that thresholds hold where an advisory says no word.

Source: FIRST, CVSS v4.0 section 8, v3.1 section 7 and v2 section 3.2, as `cvss` does them.
"""

_WORDS = {"None": "low", "Low": "low", "Medium": "medium", "High": "high", "Critical": "critical"}
_MAX_VECTOR = 500


def vector_score(vector: str) -> float | None:
    """Return the base score, 0 to 10, of a CVSS vector of version 2, 3.0, 3.1 or 4.0.

    None where it is no such vector.
    """
    found = _read(vector)
    return None if found is None else found[0]


def vector_severity(vector: str) -> str:
    """Return `low`, `medium`, `high` or `critical`; empty where it is no vector."""
    found = _read(vector)
    return "" if found is None else _WORDS[found[1]]


def _read(vector: str) -> tuple[float, str] | None:
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    if len(vector) > _MAX_VECTOR:
        return None
    try:
        if vector.startswith("CVSS:4.0/"):
            four = CVSS4(vector)
            return float(four.base_score), str(four.severity)
        kind = CVSS3 if vector.startswith("CVSS:3.") else CVSS2
        read = kind(vector)
        return float(read.base_score), str(read.severities()[0])
    except (CVSSError, KeyError, ValueError):
        return None
