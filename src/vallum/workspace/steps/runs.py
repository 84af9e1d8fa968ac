"""Steps on runs: start, show, change, log to, delete, restore, search, histories.

Rights are asked on the experiment that the run's record names. Who made a run and when it began
and ended come from the credential and the server; tags such as `mlflow.user` are a client's claim.
"""

import json
from collections.abc import Sequence
from typing import Protocol

import msgspec

from vallum.base import InputError, LimitExceededError, NotFoundError, new_id
from vallum.formats import load_json
from vallum.schema import (
    Ask,
    Caller,
    Experiment,
    MetricPoints,
    Run,
    RunStatus,
    mlflow,
)
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Effect, Look, Step
from vallum.workspace.steps.experiments import (
    experiment_of,
    limit_of,
    make_experiment,
    view_of,
    visible_experiments,
)
from vallum.workspace.tracking import bundles, checks, filters, pages, points, shown
from vallum.workspace.tracking.bundles import LEASE_S, milliseconds
from vallum.workspace.tracking.model_metrics import link, link_asks

MAX_EXPERIMENTS = 1000  # a search
MAX_HISTORY = 250_000  # points a reply
MAX_SEARCH_S = 10.0  # of a thread that others wait for
HISTORY_TAG = "mlflow.log-model.history"
_ENDED = frozenset({RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED})


class OfRun(Protocol):
    """Arguments that name a run, by the new or the old name."""

    @property
    def run_id(self) -> str:
        """Return the id."""

    @property
    def run_uuid(self) -> str:
        """Return the id, as old clients name it."""


def run_id_of(args: OfRun) -> str:
    """Return which run the arguments name."""
    return args.run_id or args.run_uuid


def _run_of(context: Context, args: OfRun | mlflow.RunLogBatch) -> Run:
    return context.run(args.run_id if isinstance(args, mlflow.RunLogBatch) else run_id_of(args))


def _own(action: str) -> Asks:
    def asks(context: Context, args: OfRun | mlflow.RunLogBatch, caller: Caller) -> Sequence[Ask]:
        run = _run_of(context, args)
        return ask(action, context.experiment_resource(context.experiment(run.experiment_id)))

    return asks


def _active(act: Act, args: OfRun | mlflow.RunLogBatch) -> Run:
    """Return the run that is written to.

    Raises:
        InputError: It, or its experiment, was deleted.
    """
    run = _run_of(act.context, args)
    if run.deleted_ms or act.context.experiment(run.experiment_id).deleted_ms:
        raise InputError(
            f"run `{run.id}` was deleted", code="mlflow.deleted", hint="restore it first"
        )
    return run


def _put(act: Act, run: Run) -> None:
    act.put("run", run, on=run.experiment_id, parent_id=run.experiment_id)


# -- start and change ---------------------------------------------------------------------------


def _create_asks(context: Context, args: mlflow.RunCreate, caller: Caller) -> Sequence[Ask]:
    try:
        found = experiment_of(context, args.experiment_id)
    except NotFoundError:
        if args.experiment_id != shown.DEFAULT_ID:
            raise
        # A client that names no experiment means the default one, which is made at first use.
        return (
            *ask("experiments/write", context.workspace()),
            *ask("experiments/runs/write", context.workspace()),
        )
    return ask("experiments/runs/write", context.experiment_resource(found))


def _act_create(act: Act, args: mlflow.RunCreate) -> mlflow.RunReply:
    on = act.first_resource
    if on == act.context.workspace_id:
        experiment = make_experiment(act, shown.DEFAULT)
    else:
        experiment = act.context.experiment(on)
    if experiment.deleted_ms:
        raise InputError(
            f"experiment `{experiment.id}` was deleted",
            code="mlflow.deleted",
            hint="restore it first",
        )
    tags = checks.pairs(args.tags, what="tag", limit=checks.MAX_TAG, most=checks.MAX_RUN_PAIRS)
    identity = str(new_id("run"))
    claimed = tags.get(shown.RUN_NAME_TAG)
    if args.run_name and claimed and args.run_name != claimed:
        raise InputError(
            f"the run is called {args.run_name[:60]!a}, and {claimed[:60]!a} by its tag"
            f" `{shown.RUN_NAME_TAG}`",
            code="mlflow.value",
            hint="name it once",
        )
    checks.room_for(tags.items(), what="tags")
    name = args.run_name or claimed or f"run-{identity[-6:]}"
    tags[shown.RUN_NAME_TAG] = checks.name(name, what="a run")
    run = Run(
        id=identity,
        experiment_id=experiment.id,
        name=name,
        user_id=act.caller.id,
        user=act.caller.name,
        started_ms=milliseconds(act),
        tags=tuple(sorted(tags.items())),
    )
    act.put("run", run, on=on, parent_id=experiment.id)
    return mlflow.RunReply(run=shown.run_shown(run))


def _act_get(act: Act, args: mlflow.RunNamed) -> mlflow.RunReply:
    run = _run_of(act.context, args)
    deleted = act.context.experiment(run.experiment_id).deleted_ms != 0
    found = bundles.with_open(run, bundles.opened(act.context, run.id).get(run.id, ()))
    return mlflow.RunReply(run=shown.run_shown(found, deleted=deleted))


def _act_update(act: Act, args: mlflow.RunUpdate) -> mlflow.RunUpdated:
    run = _active(act, args)
    if args.status is not None:
        ended = milliseconds(act) if args.status in _ENDED else 0
        run = msgspec.structs.replace(run, status=args.status, ended_ms=ended)
    if args.run_name:
        run = _renamed(run, args.run_name)
    _put(act, run)
    return mlflow.RunUpdated(run_info=shown.info(run))


def _renamed(run: Run, name: str) -> Run:
    checks.name(name, what="a run")
    tags = {**dict(run.tags), shown.RUN_NAME_TAG: name}
    return msgspec.structs.replace(run, name=name, tags=tuple(sorted(tags.items())))


def _act_delete(act: Act, args: mlflow.RunNamed) -> mlflow.Nothing:
    run = _run_of(act.context, args)
    if not run.deleted_ms:  # to delete what is deleted is no error for MLflow's clients
        run = bundles.absorb(act, _active(act, args))
        _put(act, msgspec.structs.replace(run, deleted_ms=milliseconds(act)))
    return mlflow.Nothing()


def _act_restore(act: Act, args: mlflow.RunNamed) -> mlflow.Nothing:
    run = _run_of(act.context, args)
    if run.deleted_ms:
        _put(act, msgspec.structs.replace(run, deleted_ms=0))
    return mlflow.Nothing()


# -- log ----------------------------------------------------------------------------------------


def _act_log_metric(act: Act, args: mlflow.RunLogMetric) -> mlflow.Nothing:
    """Open a bundle with these points; what follows within its lease joins it."""
    run = _active(act, args)
    taken = points_of(args)
    known = {one[0] for one in run.latest} | {one.key for one in taken}
    checks.room(len(known), checks.MAX_RUN_METRICS, what="metrics")
    bundles.open_bundle(act, run, taken)
    return mlflow.Nothing()


def metrics_of(args: mlflow.RunLogMetric) -> tuple[mlflow.MetricValue, ...]:
    """Return the points that a request names, one by one or together."""
    one = mlflow.MetricValue(
        key=args.key,
        value=args.value,
        timestamp=args.timestamp,
        step=args.step,
        model_id=args.model_id,
        dataset_name=args.dataset_name,
        dataset_digest=args.dataset_digest,
    )
    return args.metrics or (one,)


def points_of(args: mlflow.RunLogMetric) -> tuple[points.Point, ...]:
    """Return the points of a request to log metrics.

    Raises:
        InputError: One is no good, or there is none.
    """
    given = metrics_of(args)
    if any(one.model_id for one in given):
        raise InputError("metrics of a model are logged as a batch", code="mlflow.value")
    return points.take(given)


def _with_params(run: Run, given: dict[str, str]) -> Run:
    """Add parameters, which never change.

    Raises:
        InputError: One is there with another value.
    """
    params = dict(run.params)
    for key, value in given.items():
        if params.setdefault(key, value) != value:
            raise InputError(
                f"parameter {key[:60]!a} has another value already: parameters never change",
                code="mlflow.param",
                hint="use a tag or a metric for what changes, or start another run",
            )
    checks.room_for(params.items(), what="parameters")
    return msgspec.structs.replace(run, params=tuple(sorted(params.items())))


def _with_tags(run: Run, given: dict[str, str]) -> Run:
    tags = {**dict(run.tags), **given}
    checks.room_for(tags.items(), what="tags")
    run = msgspec.structs.replace(run, tags=tuple(sorted(tags.items())))
    name = given.get(shown.RUN_NAME_TAG)
    return run if name is None else _renamed(run, name)


def _act_log_param(act: Act, args: mlflow.RunLogParam) -> mlflow.Nothing:
    pair = mlflow.Pair(key=args.key, value=args.value)
    given = checks.pairs([pair], what="parameter", limit=checks.MAX_PARAM)
    _put(act, _with_params(_active(act, args), given))
    return mlflow.Nothing()


def _act_set_tag(act: Act, args: mlflow.RunSetTag) -> mlflow.Nothing:
    pair = mlflow.Pair(key=args.key, value=args.value)
    given = checks.pairs([pair], what="tag", limit=checks.MAX_TAG)
    _put(act, _with_tags(_active(act, args), given))
    return mlflow.Nothing()


def _act_delete_tag(act: Act, args: mlflow.RunDeleteTag) -> mlflow.Nothing:
    run = _active(act, args)
    tags = dict(run.tags)
    if tags.pop(args.key, None) is None:
        raise NotFoundError(f"run `{run.id}` has no tag {args.key[:60]!a}")
    _put(act, msgspec.structs.replace(run, tags=tuple(sorted(tags.items()))))
    return mlflow.Nothing()


def _act_log_model(act: Act, args: mlflow.RunLogModel) -> mlflow.Nothing:
    """Keep what the client says of the model in the tag where MLflow keeps it, newest last."""
    run = _active(act, args)
    told = load_json(args.model_json.encode())
    if not isinstance(told, dict):
        raise InputError("the model is not a JSON object", code="mlflow.value")
    before = load_json(dict(run.tags).get(HISTORY_TAG, "[]").encode())
    models = [*(before if isinstance(before, list) else []), told]
    text = json.dumps(models)
    while len(text) > checks.MAX_TAG and models:  # what was noted first makes room
        del models[0]
        text = json.dumps(models)
    _put(act, _with_tags(run, {HISTORY_TAG: text}))
    return mlflow.Nothing()


def _batch_asks(context: Context, args: mlflow.RunLogBatch, caller: Caller) -> Sequence[Ask]:
    asks = (*_own(_WRITE)(context, args, caller), *link_asks(context, args.metrics))
    return tuple({(one.action, one.resource.id): one for one in asks}.values())


def _act_log_batch(act: Act, args: mlflow.RunLogBatch) -> mlflow.Nothing:
    run = _active(act, args)
    if len(args.metrics) + len(args.params) + len(args.tags) > checks.MAX_POINTS:
        raise LimitExceededError(
            f"a batch has at most {checks.MAX_POINTS} metrics, parameters and tags",
            code="mlflow.batch",
        )
    params = checks.pairs(args.params, what="parameter", limit=checks.MAX_PARAM)
    tags = checks.pairs(args.tags, what="tag", limit=checks.MAX_TAG)
    run = bundles.write_points(act, run, points.take(args.metrics))
    link(act, run.id, args.metrics)
    _put(act, _with_tags(_with_params(run, params), tags))
    return mlflow.Nothing()


# -- read ---------------------------------------------------------------------------------------


def _act_history(act: Act, args: mlflow.MetricHistory) -> mlflow.MetricsFound:
    run = _run_of(act.context, args)
    rows = act.context.all("metric-points", MetricPoints, parent_id=run.id)
    rows += [one.points for one in bundles.opened(act.context, run.id).get(run.id, ())]
    found = [(row.id, point) for row in rows for point in points.unpack(row, only=args.metric_key)]
    found.sort(key=lambda one: (one[1].at_ms, one[1].step))
    limit = limit_of(args.max_results, most=MAX_HISTORY) if args.max_results else MAX_HISTORY
    taken, token = pages.page(
        act,
        found,
        [f"{at}" for at in range(len(found))],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
    )
    return mlflow.MetricsFound(
        metrics=tuple(
            mlflow.MetricValue(
                key=one.key, value=points.shown(one.value), timestamp=one.at_ms, step=one.step
            )
            for _, one in taken
        ),
        next_page_token=token,
    )


def _search_asks(context: Context, args: mlflow.RunSearch, caller: Caller) -> Sequence[Ask]:
    return ()  # each experiment is decided by itself: its runs are found or they are not there


def _act_search(look: Look, args: mlflow.RunSearch) -> mlflow.RunsFound:
    view, limit = view_of(args.run_view_type), limit_of(args.max_results)
    passes = filters.matcher(filters.parse_filter(args.filter, shown.RUNS), shown.RUNS)
    orders = filters.parse_orders(args.order_by, shown.RUNS)
    taking_in = bundles.opened(look.context)
    deleted: set[str] = set()
    found: list[Run] = []
    monotonic = look.house.clock.monotonic
    end = monotonic() + MAX_SEARCH_S
    for experiment in _searched(look, args.experiment_ids):
        gone = experiment.deleted_ms != 0
        if gone:
            deleted.add(experiment.id)
        for run in look.context.all("run", Run, parent_id=experiment.id):
            if (shown.DELETED if gone else shown.stage(run)) not in view:
                continue
            if monotonic() > end:
                raise LimitExceededError(
                    f"the search took more than {MAX_SEARCH_S:.0f} s",
                    code="mlflow.search-time",
                    hint="name fewer experiments, or a simpler filter",
                )
            one = bundles.with_open(run, taking_in[run.id]) if run.id in taking_in else run
            if passes(one):
                found.append(one)
    found.sort(key=lambda one: (-one.started_ms, one.id))
    rows = filters.ordered(found, orders, shown.RUNS)
    taken, token = pages.page(
        look,
        rows,
        [one.id for one in rows],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
    )
    return mlflow.RunsFound(
        runs=tuple(shown.run_shown(one, deleted=one.experiment_id in deleted) for one in taken),
        next_page_token=token,
    )


def _searched(look: Look, identities: Sequence[str]) -> list[Experiment]:
    """Return the named experiments whose runs the caller may read; others are as if not there."""
    if len(identities) > MAX_EXPERIMENTS:
        raise LimitExceededError(
            f"a search names at most {MAX_EXPERIMENTS} experiments", code="mlflow.batch"
        )
    visible = {one.id: one for one in visible_experiments(look, "experiments/runs/read")}
    names = {one.name: one for one in visible.values()}
    found = [
        names.get(shown.DEFAULT) if one == shown.DEFAULT_ID else visible.get(one)
        for one in dict.fromkeys(identities)
    ]
    return [one for one in dict.fromkeys(found) if one is not None]


_WRITE = "experiments/runs/write"
_READ = "experiments/runs/read"
_DELETE = "experiments/runs/delete"

STEPS = (
    Step("run.create", mlflow.RunCreate, _create_asks, _act_create),
    Step("run.get", mlflow.RunNamed, _own(_READ), _act_get, Effect.READ),
    Step("run.update", mlflow.RunUpdate, _own(_WRITE), _act_update),
    Step("run.delete", mlflow.RunNamed, _own(_DELETE), _act_delete),
    Step("run.restore", mlflow.RunNamed, _own(_DELETE), _act_restore),
    Step("run.log-metric", mlflow.RunLogMetric, _own(_WRITE), _act_log_metric,
         lease_s=LEASE_S),
    Step("run.log-param", mlflow.RunLogParam, _own(_WRITE), _act_log_param),
    Step("run.set-tag", mlflow.RunSetTag, _own(_WRITE), _act_set_tag),
    Step("run.delete-tag", mlflow.RunDeleteTag, _own(_WRITE), _act_delete_tag),
    Step("run.log-model", mlflow.RunLogModel, _own(_WRITE), _act_log_model),
    Step("run.log-batch", mlflow.RunLogBatch, _batch_asks, _act_log_batch),
    Step("run.metric-history", mlflow.MetricHistory, _own(_READ), _act_history, Effect.READ),
    Step("run.search", mlflow.RunSearch, _search_asks, _act_search, Effect.READ, apart=True),
)  # fmt: skip
