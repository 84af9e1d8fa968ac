"""Licences: what a file declares as an SPDX expression, or what the text of a licence is.

Without an allow list only what cannot be told is said. With one, an expression passes if a choice
of its alternatives is allowed in full: `OR` offers, `AND` and `WITH` demand.

Source: SPDX 3, annex "SPDX license expressions"; PEP 639 (packaging knows the identifiers).
"""

import re
from collections.abc import Collection
from email.parser import HeaderParser

from vallum.base.errors import InputError
from vallum.scan.report import Findings

MAX_TEXT = 512 * 1024
MAX_EXPRESSION = 1_000
_TAG = re.compile(r"SPDX-License-Identifier:\s*([^\r\n*]{1,1000}?)\s*(?:\*/|-->|$)", re.MULTILINE)
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "The Unlicense (Unlicense)": "Unlicense",
    "Python Software Foundation License": "PSF-2.0",
    "zlib/libpng License": "Zlib",
}
# What only one licence says, in lower case with single spaces; the first that fits.
_PHRASES = (
    ("gnu affero general public license version 3", "AGPL-3.0-only"),
    ("gnu lesser general public license version 3", "LGPL-3.0-only"),
    ("gnu lesser general public license version 2.1", "LGPL-2.1-only"),
    ("gnu general public license version 3", "GPL-3.0-only"),
    ("gnu general public license version 2", "GPL-2.0-only"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("eclipse public license - v 2.0", "EPL-2.0"),
    ("boost software license - version 1.0", "BSL-1.0"),
    ("business source license 1.1", "BUSL-1.1"),
    ("server side public license version 1", "SSPL-1.0"),
    ("creative commons attribution-noncommercial-sharealike 4.0 international", "CC-BY-NC-SA-4.0"),
    ("creative commons attribution-noncommercial 4.0 international", "CC-BY-NC-4.0"),
    ("creative commons attribution-sharealike 4.0 international", "CC-BY-SA-4.0"),
    ("creative commons attribution 4.0 international", "CC-BY-4.0"),
    ("creative commons legal code cc0 1.0 universal", "CC0-1.0"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
    ("permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"),
    ("neither the name of", "BSD-3-Clause"),
    ("redistribution and use in source and binary forms", "BSD-2-Clause"),
    ("permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
)
_HEAD = 3_000


def check_allowed(identifiers: Collection[str]) -> frozenset[str]:
    """Return an allow list in SPDX's own spelling, in lower case.

    Raises:
        InputError: One of them is no identifier of SPDX.
    """
    return frozenset(
        part.lower() for one in identifiers for part in _normal(one, strict=True).split(" WITH ")
    )


def scan_expression(
    expression: str,
    findings: Findings,
    allowed: Collection[str] | None,
    member: str = "",
    line: int | None = None,
) -> None:
    """Judge a declared expression against an allow list as `check_allowed` returned it."""
    try:
        normal = _normal(expression)
    except InputError as error:
        _unknown(error.message, findings, allowed, member, line)
        return
    if allowed is not None and not _passes(normal, allowed):
        findings.add("license.not-allowed", f"`{normal[:120]}` is not on the list of licences",
                     severity="medium", member=member, line=line)  # fmt: skip


def scan_license_text(text: str, findings: Findings, allowed: Collection[str] | None) -> None:
    """Judge the text of a licence by its SPDX tag, or by what only one licence says."""
    tag = _TAG.search(text)
    if tag is not None:
        line = text.count("\n", 0, tag.start()) + 1
        scan_expression(tag[1], findings, allowed, line=line)
        return
    identifier = license_of(text)
    if identifier:
        scan_expression(identifier, findings, allowed)
    else:
        _unknown("the text is of no licence that is known here", findings, allowed, "", None)


def license_of(text: str) -> str:
    """Return the SPDX identifier of a licence's text; empty where it is not known."""
    words = " ".join(re.sub(r"[,#*=\"“”]", " ", text[:MAX_TEXT]).lower().split())
    plain = words.replace("(the gnu ", "")
    for phrase, identifier in _PHRASES:
        wanted = " ".join(phrase.replace(",", " ").split())
        place = plain.find(wanted)
        title = phrase.startswith(
            ("gnu", "creative", "cc0")
        )  # others are quoted in the small print
        if place >= 0 and (not title or place < _HEAD):
            return identifier
    return ""


def scan_metadata(text: str, findings: Findings, allowed: Collection[str] | None) -> None:
    """Judge a package's METADATA or PKG-INFO."""
    message = HeaderParser().parsestr(text[:MAX_TEXT])
    classifiers = [str(one) for one in message.get_all("Classifier") or ()]
    scan_declared(
        str(message.get("License-Expression") or ""), str(message.get("License") or ""),
        classifiers, findings, allowed,
    )  # fmt: skip


def scan_declared(
    expression: str,
    words: str,
    classifiers: Collection[str],
    findings: Findings,
    allowed: Collection[str] | None,
) -> None:
    """Judge what a package declares: an expression, free words, or classifiers of PyPI."""
    if expression:
        scan_expression(expression, findings, allowed)
        return
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    if named:
        known = [_CLASSIFIERS.get(one, "") for one in named]
        if all(known):
            scan_expression(" AND ".join(known), findings, allowed)
            return
    if words:
        known_text = license_of(words) if len(words) > 200 else ""  # noqa: PLR2004 - a text, no name
        scan_expression(known_text or words, findings, allowed)
        return
    _unknown("no licence is declared", findings, allowed, "", None)


def _unknown(
    message: str,
    findings: Findings,
    allowed: Collection[str] | None,
    member: str,
    line: int | None,
) -> None:
    severity = "info" if allowed is None else "medium"
    findings.add("license.unknown", message, severity=severity, member=member, line=line)


def _normal(expression: str, *, strict: bool = False) -> str:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    shown = " ".join(expression.split())[:80]
    try:
        if len(expression) > MAX_EXPRESSION:
            raise ValueError(shown)
        normal = str(canonicalize_license_expression(expression))
    except (InvalidLicenseExpression, ValueError, RecursionError) as error:
        raise InputError(
            f"`{shown}` is no SPDX expression", code="license.expression",
            hint="such as MIT, Apache-2.0, BSD-3-Clause",
        ) from error  # fmt: skip
    if strict and re.search(r"[()]| (AND|OR) ", normal):
        raise InputError(f"`{shown}` is more than one licence", code="license.expression")
    return normal


def _passes(expression: str, allowed: Collection[str]) -> bool:
    """Evaluate a valid expression; `WITH` binds closer than `AND`, `AND` closer than `OR`."""
    tokens = expression.replace("(", " ( ").replace(")", " ) ").split()
    at = 0

    def alternatives() -> bool:
        nonlocal at
        passes = demands()
        while at < len(tokens) and tokens[at] == "OR":
            at += 1
            other = demands()
            passes = passes or other
        return passes

    def demands() -> bool:
        nonlocal at
        passes = one()
        while at < len(tokens) and tokens[at] in ("AND", "WITH"):
            at += 1
            other = one()
            passes = passes and other
        return passes

    def one() -> bool:
        nonlocal at
        token = tokens[at]
        at += 1
        if token == "(":  # noqa: S105 - a parenthesis
            passes = alternatives()
            at += 1
            return passes
        return token.lower() in allowed

    return alternatives()
