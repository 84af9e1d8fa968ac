"""Scores of CVSS vectors against the examples that FIRST has published."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.scan.advisories import affecting, read_osv
from vallum.scan.severity import vector_score, vector_severity

# FIRST: "CVSS v3.1 Examples", "CVSS v4.0 Examples" and "CVSS v2 Complete Documentation", 3.3.
EXAMPLES = [
    ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, "medium"),  # CVE-2013-0375
    ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1, "low"),  # CVE-2014-3566
    ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 9.9, "critical"),  # CVE-2012-1516
    ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 7.8, "high"),  # CVE-2009-0783
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5, "high"),  # CVE-2014-0160
    ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, "critical"),  # CVE-2014-6271
    ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, "low"),
    ("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.3, "high"),
    ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:L/VA:L/SC:N/SI:N/SA:N", 8.8, "high"),
    ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0, "critical"),
    ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8, "high"),  # CVE-2002-0392
    ("AV:L/AC:H/Au:N/C:C/I:C/A:C", 6.2, "medium"),  # CVE-2003-0062
]


@pytest.mark.parametrize(("vector", "score", "word"), EXAMPLES)
def test_published_examples_have_their_published_scores(
    vector: str, score: float, word: str
) -> None:
    assert vector_score(vector) == pytest.approx(score)
    assert vector_severity(vector) == word


@given(st.text(max_size=60) | st.text(max_size=20).map("CVSS:3.1/".__add__))
def test_any_text_has_a_score_or_none(text: str) -> None:
    score = vector_score(text)
    assert score is None or 0 <= score <= 10
    assert (score is None) == (vector_severity(text) == "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"severity": [{"type": "CVSS_V3", "score": EXAMPLES[0][0]}]}, "medium"),
        ({"severity": [{"type": t, "score": s} for t, s in
                       (("CVSS_V3", EXAMPLES[1][0]), ("CVSS_V4", EXAMPLES[9][0]))]}, "critical"),
        ({"severity": [{"type": "CVSS_V3", "score": EXAMPLES[5][0]}],
          "database_specific": {"severity": "LOW"}}, "low"),
        ({"severity": [{"type": "CVSS_V3", "score": "nonsense"}]}, "high"),
        ({"severity": [{"type": "Ubuntu", "score": "low"}]}, "high"),
        ({}, "high"),
    ],
)  # fmt: skip
def test_an_advisory_with_vectors_alone_has_a_severity(
    said: dict[str, object], expected: str
) -> None:
    advisory = {
        "id": "X-1", "modified": "2026-01-01T00:00:00Z",
        "affected": [{"package": {"ecosystem": "PyPI", "name": "a"}, "versions": ["1"]}], **said,
    }  # fmt: skip
    (snapshot,) = read_osv(json.dumps(advisory).encode())
    assert [match.severity for match in affecting(snapshot, "a", "1")] == [expected]
