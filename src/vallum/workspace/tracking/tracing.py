"""Traces: what clients tell of them, how that is kept encrypted, and what searches may ask.

A trace quotes what users asked a program and what it answered. Its row holds ids, times and state;
all else is sealed under a key of its own purpose and bound to the trace.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from vallum.base import IntegrityError, NotFoundError
from vallum.crypto import Purpose, seal, unseal
from vallum.schema import Trace, TraceHeld
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.tracking import checks
from vallum.workspace.tracking.filters import Value, Vocabulary
from vallum.workspace.tracking.shown import experiment_location

NAME_TAG = "mlflow.traceName"
LOCATION_TAG = "mlflow.artifactLocation"
SPANS_TAG = "mlflow.trace.spansLocation"
RUN_METADATA = "mlflow.sourceRun"
SPANS_FILE = "traces.json"
FOLDER = "traces"
MAX_HELD = 256 * 1024  # characters of all that is told of a trace, spans apart
MAX_PAIRS = 200  # tags, or metadata
MAX_PREVIEW = 10_000
MAX_ASSESSMENTS = 100
STATES = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")
_OURS = frozenset({LOCATION_TAG, SPANS_TAG})
_ID = re.compile(r"tr-[0-9a-f]{32}")
_DURATION = re.compile(r"(-?\d{1,12})(?:\.(\d{1,9}))?s")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def trace_of(context: Context, identity: str) -> Trace:
    """Return a trace by id.

    Raises:
        NotFoundError: There is none.
    """
    if not _ID.fullmatch(identity):
        raise NotFoundError(f"there is no trace {identity[:60]!a}")
    return context.records.get(context.snapshot, "trace", identity, Trace)


def location(trace: Trace) -> str:
    """Return where the spans of a trace are: assigned by the server."""
    return f"{experiment_location(trace.experiment_id)}/{FOLDER}/{trace.id}/artifacts"


# -- what clients tell --------------------------------------------------------------------------


def experiment_told(told: object) -> str:
    """Return the experiment that a location names.

    Raises:
        InputError: It names none.
    """
    if isinstance(told, dict):
        named = told.get("mlflow_experiment")
        if isinstance(named, dict) and isinstance(named.get("experiment_id"), str):
            return str(named["experiment_id"])
    raise checks.bad("traces are of an experiment of this server", code="mlflow.location")


def info_of(trace: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a client tells of a trace.

    Raises:
        InputError: Nothing.
    """
    info = trace.get("trace_info")
    if not isinstance(info, dict):
        raise checks.bad("the trace has no `trace_info`")
    return info


def identity_of(info: Mapping[str, object]) -> str:
    """Return the id that a client gave a trace.

    Raises:
        InputError: It has not the form of one.
    """
    identity = info.get("trace_id")
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        raise checks.bad("the id of a trace is `tr-` and 32 hexadecimal digits")
    return identity


def held_of(info: Mapping[str, object], before: TraceHeld) -> TraceHeld:
    """Return what is kept encrypted: what was there, and what is told now over it."""
    tags = {key: one for key, one in _pairs(info, "tags").items() if key not in _OURS}
    return TraceHeld(
        metadata={**before.metadata, **_pairs(info, "trace_metadata")},
        tags={**before.tags, **tags},
        request_preview=_text(info, "request_preview", MAX_PREVIEW) or before.request_preview,
        response_preview=_text(info, "response_preview", MAX_PREVIEW) or before.response_preview,
        client_request_id=_text(info, "client_request_id", checks.MAX_KEY)
        or before.client_request_id,
        runs=before.runs,
        assessments=before.assessments,
    )


def _pairs(info: Mapping[str, object], name: str) -> dict[str, str]:
    given = info.get(name) or {}
    if not isinstance(given, dict) or len(given) > MAX_PAIRS:
        raise checks.bad(f"`{name}` is an object of at most {MAX_PAIRS} texts")
    out: dict[str, str] = {}
    for key, one in given.items():
        if not isinstance(one, str):
            raise checks.bad(f"{name} {key[:60]!a} is not a text")
        out[checks.key(key, what="tag")] = checks.value(one, what="tag", limit=checks.MAX_TAG)
    return out


def _text(info: Mapping[str, object], name: str, limit: int) -> str:
    given = info.get(name)
    if given is None:
        return ""
    if not isinstance(given, str):
        raise checks.bad(f"`{name}` is not a text")
    return given[:limit]  # a preview is cut by the client too


def started_of(info: Mapping[str, object]) -> int | None:
    """Return when a trace began in ms, as the client says; None: it does not."""
    given = info.get("request_time")
    if given is None:
        return None
    try:
        if not isinstance(given, str):
            raise TypeError
        at = datetime.fromisoformat(given)
        return (at.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    except (TypeError, ValueError, OverflowError):
        raise checks.bad("`request_time` is a time such as 2030-01-31T12:00:00Z") from None


def duration_of(info: Mapping[str, object]) -> int | None:
    """Return how long it took in ms; None: not told."""
    given = info.get("execution_duration")
    if given is None:
        return None
    found = _DURATION.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise checks.bad("`execution_duration` is seconds such as 0.25s")
    return int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0")[:3])


def state_of(info: Mapping[str, object]) -> str | None:
    """Return how it ended; None: not told."""
    given = info.get("state")
    if given is not None and given not in STATES:
        raise checks.bad(f"the state of a trace is one of {', '.join(STATES)}")
    return None if given is None else str(given)


# -- kept encrypted -----------------------------------------------------------------------------


def sealed(house: House, identity: str, held: TraceHeld) -> str:
    """Return what is kept of a trace, encrypted.

    Raises:
        LimitExceededError: It is too much.
    """
    checks.room(len(held.tags), MAX_PAIRS, what="tags of a trace")
    checks.room(len(held.metadata), MAX_PAIRS, what="metadata of a trace")
    checks.room(len(held.assessments), MAX_ASSESSMENTS, what="assessments of a trace")
    plain = msgspec.json.encode(held)
    checks.room(len(plain), MAX_HELD, what="bytes of what a trace tells beside its spans")
    key = house.keyring.derive(Purpose.TRACE)
    return base64.b64encode(seal(key, plain, identity.encode())).decode()


def opened(house: House, trace: Trace) -> TraceHeld:
    """Return what was kept of a trace.

    Raises:
        IntegrityError: It is not what we wrote.
    """
    key = house.keyring.derive(Purpose.TRACE)
    plain = unseal(key, base64.b64decode(trace.sealed), trace.id.encode())
    try:
        return msgspec.json.decode(plain, type=TraceHeld)
    except msgspec.DecodeError as error:
        raise IntegrityError("a trace cannot be read", code="store.row") from error


# -- shown --------------------------------------------------------------------------------------


def time_text(at_ms: int) -> str:
    """Return a time as protobuf's JSON writes it."""
    at = _EPOCH + timedelta(milliseconds=at_ms)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def trace_shown(trace: Trace, held: TraceHeld) -> dict[str, object]:
    """Return a trace as MLflow shows it; who logged it stands beside what the client claims."""
    told: dict[str, object] = {
        "trace_id": trace.id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": trace.experiment_id},
        },
        "request_time": time_text(trace.started_ms),
        "state": trace.state,
        "trace_metadata": {**held.metadata, "vallum.user": trace.user},
        "tags": {**held.tags, LOCATION_TAG: location(trace)},
    }
    if trace.duration_ms >= 0:
        told["execution_duration"] = f"{trace.duration_ms / 1000:.3f}s"
    for name in ("request_preview", "response_preview", "client_request_id"):
        if text := getattr(held, name):
            told[name] = text
    if held.assessments:
        told["assessments"] = list(held.assessments)
    return told


# -- what searches may ask ----------------------------------------------------------------------

Opened = tuple[Trace, TraceHeld]


def _attribute(one: Opened, key: str) -> Value:
    trace, held = one
    if key == "name":
        return held.tags.get(NAME_TAG)
    if key == "client_request_id":
        return held.client_request_id or None
    if key == "execution_time":
        return None if trace.duration_ms < 0 else trace.duration_ms
    if key == "end_time":
        return None if trace.duration_ms < 0 else trace.started_ms + trace.duration_ms
    return getattr(trace, _FIELDS[key])  # type: ignore[no-any-return]  # text or number


def runs_of(one: Opened) -> Iterable[str]:
    """Return the runs that a trace belongs to."""
    trace_run = one[1].metadata.get(RUN_METADATA)
    return (*([trace_run] if trace_run else ()), *one[1].runs)


def _assessed(one: Opened, kind: str, name: str) -> Iterable[Value]:
    for assessment in one[1].assessments:
        told = assessment.get(kind)
        if assessment.get("assessment_name") == name and isinstance(told, dict):
            value = told.get("value")
            yield value if isinstance(value, str) else json.dumps(value)


_COMPARED = ("=", "!=", "IN", "NOT IN", "LIKE", "ILIKE", "RLIKE")
_KEPT = ("=", "!=", "IN", "NOT IN", "LIKE", "ILIKE", "RLIKE", "IS NULL", "IS NOT NULL")
_FIELDS = {
    "request_id": "id",
    "timestamp": "started_ms",
    "status": "state",
    "experiment_id": "experiment_id",
    "user_id": "user",
}
TRACES: Vocabulary[Opened] = Vocabulary(
    entities={
        "tag": lambda one, key: one[1].tags.get(key),
        "metadata": lambda one, key: one[1].metadata.get(key),
        "attribute": _attribute,
    },
    numeric=frozenset({"timestamp", "execution_time", "end_time"}),
    textual=frozenset(
        {"request_id", "status", "name", "client_request_id", "experiment_id", "user_id"}
    ),
    aliases={
        "timestamp_ms": "timestamp",
        "request_time": "timestamp",
        "execution_time_ms": "execution_time",
        "execution_duration": "execution_time",
        "end_time_ms": "end_time",
        "trace_id": "request_id",
        "state": "status",
        "text": "span.content",
    },
    several={
        # They are a file of the trace: `spans.py` compares them, where all else holds.
        "span": lambda one, key: (),  # noqa: ARG005 - see above
        "feedback": lambda one, key: _assessed(one, "feedback", key),
        "expectation": lambda one, key: _assessed(one, "expectation", key),
        "run_id": lambda one, key: runs_of(one),  # noqa: ARG005 - there is one key
    },
    keys={"span": frozenset({"name", "type", "status", "content", "attributes."})},
    operators={
        "span": _COMPARED,
        "span.content": ("LIKE", "ILIKE"),
        **dict.fromkeys(
            ("tag", "metadata", "attribute", "feedback", "expectation", "run_id"), _KEPT
        ),
    },
)
