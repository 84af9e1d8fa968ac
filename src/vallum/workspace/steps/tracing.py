"""Steps on traces: log, show, search, tag, assess, link to a run, delete.

Rights are asked on the experiment that a trace's record names. Reading one is a data action of its
own: it quotes what people asked.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from vallum.base import InputError, LimitExceededError, NotFoundError, new_id
from vallum.schema import Artifact, Ask, Caller, Trace, TraceHeld, mlflow, mlflow_traces
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Effect, Look, Step
from vallum.workspace.steps.artifacts import erase_files
from vallum.workspace.steps.experiments import experiment_of, limit_of, visible_experiments
from vallum.workspace.steps.span_search import SpanSearch
from vallum.workspace.tracking import checks, filters, pages, shown, tracing
from vallum.workspace.tracking.bundles import milliseconds

MAX_LINKED = 100  # a request
MAX_DELETED = 1000  # a request
MAX_RUNS = 100  # of a trace
MAX_SEARCH_S = 10.0
_READ, _WRITE = "experiments/traces/read", "experiments/traces/write"
_DELETE = "experiments/traces/delete"
_CLAIMED = frozenset(
    {"assessment_name", "source", "feedback", "expectation", "rationale", "metadata", "span_id",
     "overrides", "valid"}
)  # fmt: skip
_MASKED = {
    "assessmentName": "assessment_name",
    "assessment_name": "assessment_name",
    "feedback": "feedback",
    "expectation": "expectation",
    "rationale": "rationale",
    "metadata": "metadata",
}


class _OfTrace(Protocol):
    @property
    def trace_id(self) -> str: ...


def _asks_of(context: Context, action: str, experiment_id: str) -> Sequence[Ask]:
    return ask(action, context.experiment_resource(experiment_of(context, experiment_id)))


def _own(*actions: str) -> Asks:
    def asks(context: Context, args: _OfTrace, caller: Caller) -> Sequence[Ask]:
        experiment_id = tracing.trace_of(context, args.trace_id).experiment_id
        return tuple(one for name in actions for one in _asks_of(context, name, experiment_id))

    return asks


def _active(act: Act, experiment_id: str) -> None:
    if act.context.experiment(experiment_id).deleted_ms:
        raise InputError(
            f"experiment `{experiment_id}` was deleted",
            code="mlflow.deleted",
            hint="restore it first",
        )


def _put(act: Act, trace: Trace, held: TraceHeld) -> None:
    made = msgspec.structs.replace(trace, sealed=tracing.sealed(act.house, trace.id, held))
    act.put("trace", made, on=made.experiment_id, parent_id=made.experiment_id)


def _found(context: Context, identity: str) -> Trace | None:
    try:
        return tracing.trace_of(context, identity)
    except NotFoundError:
        return None


# -- log ----------------------------------------------------------------------------------------


def _start_asks(context: Context, args: mlflow_traces.TraceStart, caller: Caller) -> Sequence[Ask]:
    info = tracing.info_of(args.trace)
    named = tracing.experiment_told(info.get("trace_location"))
    asks = _asks_of(context, _WRITE, named)
    # Ids are the clients': whoever logs to another's trace must be allowed to write that one.
    before = _found(context, tracing.identity_of(info))
    if before is not None:
        asks = (*asks, *_asks_of(context, _WRITE, before.experiment_id))
    return tuple({one.resource.id: one for one in asks}.values())


def _act_start(act: Act, args: mlflow_traces.TraceStart) -> mlflow_traces.TraceReply:
    info = tracing.info_of(args.trace)
    experiment = experiment_of(act.context, tracing.experiment_told(info.get("trace_location")))
    identity = tracing.identity_of(info)
    before = _found(act.context, identity)
    fresh = before is None
    if before is None:
        before = Trace(
            id=identity,
            experiment_id=experiment.id,
            user_id=act.caller.id,
            user=act.caller.name,
            made_ms=milliseconds(act),
            started_ms=milliseconds(act),
        )
        held = TraceHeld()
    elif before.experiment_id != experiment.id:
        raise InputError("the trace is of another experiment", code="mlflow.location")
    else:
        held = tracing.opened(act.house, before)
    _active(act, experiment.id)
    started, lasted = tracing.started_of(info), tracing.duration_of(info)
    made = msgspec.structs.replace(
        before,
        started_ms=checks.integer(
            before.started_ms if started is None else started, what="the time"
        ),
        duration_ms=before.duration_ms if lasted is None else lasted,
        state=tracing.state_of(info) or before.state,
    )
    held = tracing.held_of(info, held)
    _put(act, made, held)
    if not fresh and not act.may(_READ, act.context.experiment_resource(experiment)):
        held = tracing.held_of(info, TraceHeld())  # who may only write is told what they wrote
    return _reply(made, held)


def _reply(trace: Trace, held: TraceHeld) -> mlflow_traces.TraceReply:
    told = mlflow_traces.TraceShown(trace_info=tracing.trace_shown(trace, held))
    return mlflow_traces.TraceReply(trace=told)


def _change(act: Act, identity: str, **changed: object) -> None:
    trace = tracing.trace_of(act.context, identity)
    _active(act, trace.experiment_id)
    _put(act, trace, msgspec.structs.replace(tracing.opened(act.house, trace), **changed))


def _held(act: Act, identity: str) -> TraceHeld:
    return tracing.opened(act.house, tracing.trace_of(act.context, identity))


def _act_set_tag(act: Act, args: mlflow_traces.TraceSetTag) -> mlflow.Nothing:
    pair = mlflow.Pair(key=args.key, value=args.value)
    given = checks.pairs([pair], what="tag", limit=checks.MAX_TAG)
    _change(act, args.trace_id, tags={**_held(act, args.trace_id).tags, **given})
    return mlflow.Nothing()


def _act_delete_tag(act: Act, args: mlflow_traces.TraceDeleteTag) -> mlflow.Nothing:
    tags = dict(_held(act, args.trace_id).tags)
    if tags.pop(args.key, None) is None:
        raise NotFoundError(f"the trace has no tag {args.key[:60]!a}")
    _change(act, args.trace_id, tags=tags)
    return mlflow.Nothing()


def _link_asks(context: Context, args: mlflow_traces.TracesLink, caller: Caller) -> Sequence[Ask]:
    run = context.run(args.run_id)
    asks = list(_asks_of(context, "experiments/runs/write", run.experiment_id))
    for identity in dict.fromkeys(args.trace_ids[: MAX_LINKED + 1]):
        asks += _asks_of(context, _WRITE, tracing.trace_of(context, identity).experiment_id)
    return tuple({(one.action, one.resource.id): one for one in asks}.values())


def _act_link(act: Act, args: mlflow_traces.TracesLink) -> mlflow.Nothing:
    if len(args.trace_ids) > MAX_LINKED:
        raise LimitExceededError(
            f"at most {MAX_LINKED} traces are linked at once", code="mlflow.batch"
        )
    for identity in dict.fromkeys(args.trace_ids):
        runs = tuple(dict.fromkeys((*_held(act, identity).runs, args.run_id)))
        checks.room(len(runs), MAX_RUNS, what="links of a trace")
        _change(act, identity, runs=runs)
    return mlflow.Nothing()


def _act_delete(act: Act, args: mlflow_traces.TracesDelete) -> mlflow_traces.TracesDeleted:
    experiment = experiment_of(act.context, args.experiment_id)
    if bool(args.request_ids) is (args.max_timestamp_millis is not None):
        raise InputError(
            "traces are deleted by `request_ids` or up to `max_timestamp_millis`",
            code="mlflow.value",
        )
    held = act.context.all("trace", Trace, parent_id=experiment.id)
    if args.request_ids:
        named = frozenset(args.request_ids)
        doomed = [one for one in held if one.id in named]
    else:
        limit = args.max_timestamp_millis or 0
        doomed = sorted(
            (one for one in held if one.started_ms <= limit), key=lambda one: one.started_ms
        )
        doomed = doomed[: MAX_DELETED if args.max_traces is None else max(0, args.max_traces)]
    for one in doomed[:MAX_DELETED]:
        files = act.context.all("artifact", Artifact, parent_id=one.id)
        if files:
            erase_files(act, files, reason="deleted")
        act.remove("trace", one.id, on=experiment.id)
    return mlflow_traces.TracesDeleted(traces_deleted=len(doomed[:MAX_DELETED]))


def _delete_asks(
    context: Context, args: mlflow_traces.TracesDelete, caller: Caller
) -> Sequence[Ask]:
    return _asks_of(context, _DELETE, args.experiment_id)


# -- assess -------------------------------------------------------------------------------------


def _assessment(given: dict[str, object]) -> dict[str, object]:
    told = {key: one for key, one in given.items() if key in _CLAIMED}
    name = told.get("assessment_name")
    if not isinstance(name, str) or not 0 < len(name) <= checks.MAX_KEY:
        raise InputError("the assessment has no name", code="mlflow.value")
    if ("feedback" in told) is ("expectation" in told):
        raise InputError("an assessment is either `feedback` or `expectation`", code="mlflow.value")
    return told


def _act_assess(act: Act, args: mlflow_traces.AssessmentCreate) -> mlflow_traces.AssessmentReply:
    trace = tracing.trace_of(act.context, args.trace_id)
    now = tracing.time_text(milliseconds(act))
    made: dict[str, object] = {
        "valid": True,
        **_assessment(args.assessment),
        "assessment_id": str(new_id("as")),
        "trace_id": trace.id,
        "create_time": now,
        "last_update_time": now,
    }
    made["metadata"] = _signed(act, made.get("metadata"))
    held = tracing.opened(act.house, trace)
    _change(act, trace.id, assessments=(*held.assessments, made))
    return mlflow_traces.AssessmentReply(assessment=made)


def _signed(act: Act, metadata: object) -> dict[str, object]:
    """Return metadata with who assessed: the client's `source` is a claim."""
    told = metadata if isinstance(metadata, dict) else {}
    return {**told, "vallum.user": act.caller.name}


def _one(
    act: Act, args: mlflow_traces.AssessmentNamed | mlflow_traces.AssessmentUpdate
) -> dict[str, object]:
    for one in _held(act, args.trace_id).assessments:
        if one.get("assessment_id") == args.assessment_id:
            return one
    raise NotFoundError(f"the trace has no assessment {args.assessment_id[:60]!a}")


def _act_assessment(act: Act, args: mlflow_traces.AssessmentNamed) -> mlflow_traces.AssessmentReply:
    return mlflow_traces.AssessmentReply(assessment=_one(act, args))


def _act_reassess(act: Act, args: mlflow_traces.AssessmentUpdate) -> mlflow_traces.AssessmentReply:
    old = _one(act, args)
    mask = [one for one in args.update_mask.split(",") if one]
    unknown = [one for one in mask if one not in _MASKED]
    if unknown or not mask:
        raise InputError(
            f"`update_mask` names what changes: {', '.join(sorted(set(_MASKED.values())))}",
            code="mlflow.value",
        )
    new = dict(old)
    for name in (_MASKED[one] for one in mask):
        if name in args.assessment:
            new[name] = args.assessment[name]
        else:
            new.pop(name, None)
    made = {
        **old,
        **_assessment(new),
        "metadata": _signed(act, new.get("metadata")),
        "last_update_time": tracing.time_text(milliseconds(act)),
    }
    held = _held(act, args.trace_id).assessments
    _change(act, args.trace_id, assessments=tuple(made if one == old else one for one in held))
    return mlflow_traces.AssessmentReply(assessment=made)


def _act_unassess(act: Act, args: mlflow_traces.AssessmentNamed) -> mlflow.Nothing:
    old = _one(act, args)
    held = _held(act, args.trace_id).assessments
    _change(act, args.trace_id, assessments=tuple(one for one in held if one != old))
    return mlflow.Nothing()


# -- read ---------------------------------------------------------------------------------------


def _act_get(act: Act, args: mlflow_traces.TraceNamed) -> mlflow_traces.TraceReply:
    trace = tracing.trace_of(act.context, args.trace_id)
    return _reply(trace, tracing.opened(act.house, trace))


def _search_asks(
    context: Context, args: mlflow_traces.TraceSearch, caller: Caller
) -> Sequence[Ask]:
    return ()  # each experiment is decided by itself


def _act_search(look: Look, args: mlflow_traces.TraceSearch) -> mlflow_traces.TracesFound:
    limit = limit_of(args.max_results, most=mlflow_traces.MAX_TRACES)
    asked = filters.parse_filter(args.filter, tracing.TRACES)
    of_spans = [one for one in asked if one.field.entity == "span"]
    rest = [one for one in asked if one.field.entity != "span"]
    passes = filters.matcher(rest, tracing.TRACES)
    orders = filters.parse_orders(args.order_by, tracing.TRACES)
    wanted = {tracing.experiment_told(one) for one in args.locations}
    end = look.house.clock.monotonic() + MAX_SEARCH_S
    found: list[tracing.Opened] = []
    for experiment in visible_experiments(look, _READ):
        is_default = experiment.name == shown.DEFAULT and shown.DEFAULT_ID in wanted
        if experiment.deleted_ms or not (experiment.id in wanted or is_default):
            continue
        for trace in look.context.all("trace", Trace, parent_id=experiment.id):
            if look.house.clock.monotonic() > end:
                raise LimitExceededError(
                    f"the search took more than {MAX_SEARCH_S:.0f} s",
                    code="mlflow.search-time",
                    hint="name fewer experiments, or a simpler filter",
                )
            one = (trace, tracing.opened(look.house, trace))
            if passes(one):
                found.append(one)
    found.sort(key=lambda one: (-one[0].started_ms, one[0].id))
    rows = filters.ordered(found, orders, tracing.TRACES)
    keep = None
    if of_spans:
        reading = SpanSearch(look, of_spans)
        reading.allow(_READ, list(dict.fromkeys(trace.experiment_id for trace, _ in rows)))
        keep = reading.keep
    taken, token = pages.page(
        look,
        rows,
        [trace.id for trace, _ in rows],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
        keep=keep,
    )
    return mlflow_traces.TracesFound(
        traces=tuple(tracing.trace_shown(*one) for one in taken), next_page_token=token
    )


STEPS = (
    Step("trace.start", mlflow_traces.TraceStart, _start_asks, _act_start),
    Step("trace.get", mlflow_traces.TraceNamed, _own(_READ), _act_get, Effect.READ),
    Step("trace.search", mlflow_traces.TraceSearch, _search_asks, _act_search, Effect.READ,
         apart=True),
    Step("trace.set-tag", mlflow_traces.TraceSetTag, _own(_WRITE), _act_set_tag),
    Step("trace.delete-tag", mlflow_traces.TraceDeleteTag, _own(_WRITE), _act_delete_tag),
    Step("trace.link", mlflow_traces.TracesLink, _link_asks, _act_link),
    Step("trace.delete", mlflow_traces.TracesDelete, _delete_asks, _act_delete),
    Step("trace.assess", mlflow_traces.AssessmentCreate, _own(_WRITE), _act_assess),
    Step("trace.assessment", mlflow_traces.AssessmentNamed, _own(_READ), _act_assessment,
         Effect.READ),
    Step("trace.reassess", mlflow_traces.AssessmentUpdate, _own(_READ, _WRITE), _act_reassess),
    Step("trace.unassess", mlflow_traces.AssessmentNamed, _own(_WRITE), _act_unassess),
)  # fmt: skip
