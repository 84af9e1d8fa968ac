"""Traces of decisions, as a gateway hands them in with a bundle."""

import re

from vallum.base import InputError
from vallum.schema.serving import MAX_TRACES, BundleClose

_TRACE = re.compile("[0-9a-f]{32}")
_SPAN = re.compile("[0-9a-f]{16}")


def check_traces(question: BundleClose) -> list[dict[str, object]]:
    """Return the traces of a bundle, as its entry in the log names them.

    Raises:
        InputError: They are none, too many, or of other records.
    """
    if len(question.traces) > MAX_TRACES or any(
        not 0 <= one.record < question.answered + question.refused
        or not _TRACE.fullmatch(one.trace_id)
        or not _SPAN.fullmatch(one.span_id)
        for one in question.traces
    ):
        raise InputError("the traces are not those of the bundle", code="bundle.traces")
    return [
        {"record": one.record, "trace": one.trace_id, "span": one.span_id}
        for one in question.traces
    ]
