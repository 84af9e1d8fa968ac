"""What `vallum pii --json` prints: never a value."""

from collections.abc import Sequence

from vallum.privacy.discover import Discovery
from vallum.privacy.text import Span


def pii_report(
    tables: Sequence[tuple[str, Discovery]],
    texts: Sequence[tuple[str, Sequence[Sequence[tuple[str, Span]]]]],
) -> dict[str, object]:
    """Return the object `vallum.pii/1`, for tables and for texts.

    Args:
        tables: File and what was found in its columns.
        texts: File and, for each record, the fields and spans; the field of plain text is empty.
    """
    files: list[dict[str, object]] = [
        {
            "path": path,
            "columns": [
                {
                    "name": one.name,
                    "type": one.type,
                    "count": one.count,
                    "share": round(one.share, 6),
                    "confidence": [round(bound, 6) for bound in one.confidence],
                    "label": one.label.value,
                }
                for one in found.columns
            ],
            "spans": [],
        }
        for path, found in tables
    ]
    for path, records in texts:
        spans = [
            {
                "record": number,
                "field": field,
                "start": span.start,
                "end": span.end,
                "type": span.type,
                "score": span.score,
            }
            for number, record in enumerate(records)
            for field, span in record
        ]
        files.append({"path": path, "columns": [], "spans": spans})
    return {"schema": "vallum.pii/1", "files": files}
