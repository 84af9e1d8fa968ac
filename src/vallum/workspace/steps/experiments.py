"""Steps on experiments: create, show, find, search, rename, tag, delete, restore."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from vallum.base import ConflictError, InputError, NotFoundError, is_id, new_id
from vallum.schema import Ask, Caller, Experiment, mlflow
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Effect, Look, Step, on_workspace
from vallum.workspace.tracking import checks, filters, pages, shown
from vallum.workspace.tracking.bundles import absorb, milliseconds, opened

MAX_TAGS = 2000


class _OfExperiment(Protocol):
    @property
    def experiment_id(self) -> str: ...


def experiment_of(context: Context, identity: str) -> Experiment:
    """Return an experiment by id; `0` is the one called `Default`, as for every MLflow client.

    Raises:
        NotFoundError: There is none.
    """
    if identity == shown.DEFAULT_ID:
        return context.experiment(shown.DEFAULT)
    if not is_id(identity):  # a name is no id: there is another way to ask for one
        raise NotFoundError(f"there is no experiment {identity[:60]!a}")
    return context.experiment(identity)


def _own(action: str) -> Asks:
    def asks(context: Context, args: _OfExperiment, caller: Caller) -> Sequence[Ask]:
        found = experiment_of(context, args.experiment_id)
        return ask(action, context.experiment_resource(found))

    return asks


def make_experiment(
    act: Act, name: str, *, tags: Sequence[mlflow.Pair] = (), on: str = ""
) -> Experiment:
    """Make an experiment.

    Raises:
        ConflictError: There is one of that name, perhaps deleted.
    """
    now = milliseconds(act)
    workspace_id = act.context.workspace_id
    checks.name(name, what="an experiment")
    if act.context.records.find(act.tx, "experiment", workspace_id, name, Experiment) is not None:
        raise ConflictError(
            f"there is an experiment called {name[:60]!a} already",
            code="mlflow.exists",
            hint="a deleted one keeps its name: restore it, or rename it first",
        )
    made = Experiment(
        id=str(new_id("exp")),
        name=name,
        owner_id=act.caller.id,
        created_ms=now,
        updated_ms=now,
        tags=tuple(sorted(checks.pairs(tags, what="tag", limit=checks.MAX_EXPERIMENT_TAG).items())),
    )
    act.put("experiment", made, on=on or workspace_id, parent_id=workspace_id, name=made.name)
    return made


def _act_create(act: Act, args: mlflow.ExperimentCreate) -> mlflow.ExperimentCreated:
    if args.artifact_location:
        raise InputError(
            "the server assigns where artifacts are",
            code="mlflow.location",
            hint="leave artifact_location out",
        )
    return mlflow.ExperimentCreated(
        experiment_id=make_experiment(act, args.name, tags=args.tags).id
    )


def _act_get(act: Act, args: mlflow.ExperimentNamed) -> mlflow.ExperimentReply:
    found = experiment_of(act.context, args.experiment_id)
    return mlflow.ExperimentReply(experiment=shown.experiment(found))


def _find_asks(context: Context, args: mlflow.ExperimentByName, caller: Caller) -> Sequence[Ask]:
    found = context.experiment(args.experiment_name)
    return ask("experiments/read", context.experiment_resource(found))


def _act_find(act: Act, args: mlflow.ExperimentByName) -> mlflow.ExperimentReply:
    found = act.context.experiment(args.experiment_name)
    return mlflow.ExperimentReply(experiment=shown.experiment(found))


def _replace(act: Act, one: Experiment, **changed: object) -> None:
    made = msgspec.structs.replace(one, updated_ms=milliseconds(act), **changed)
    act.put("experiment", made, on=one.id, parent_id=act.context.workspace_id, name=made.name)


def _active(act: Act, identity: str) -> Experiment:
    found = experiment_of(act.context, identity)
    if found.deleted_ms:
        raise InputError(
            f"experiment `{found.id}` was deleted",
            code="mlflow.deleted",
            hint="restore it first",
        )
    return found


def _act_update(act: Act, args: mlflow.ExperimentUpdate) -> mlflow.Nothing:
    found = _active(act, args.experiment_id)
    name = checks.name(args.new_name, what="an experiment")
    other = act.context.records.find(
        act.tx, "experiment", act.context.workspace_id, name, Experiment
    )
    if other is not None and other.id != found.id:
        raise ConflictError(
            f"there is an experiment called {name[:60]!a} already", code="mlflow.exists"
        )
    _replace(act, found, name=name)
    return mlflow.Nothing()


def _act_delete(act: Act, args: mlflow.ExperimentNamed) -> mlflow.Nothing:
    found = _active(act, args.experiment_id)
    for bundles in opened(act.context).values():
        if bundles[0].experiment_id == found.id:
            run = absorb(act, act.context.run(bundles[0].run_id))
            act.put("run", run, on=found.id, parent_id=found.id)
    _replace(act, found, deleted_ms=milliseconds(act))
    return mlflow.Nothing()


def _act_restore(act: Act, args: mlflow.ExperimentNamed) -> mlflow.Nothing:
    found = experiment_of(act.context, args.experiment_id)
    if not found.deleted_ms:
        raise InputError(f"experiment `{found.id}` was not deleted", code="mlflow.active")
    _replace(act, found, deleted_ms=0)
    return mlflow.Nothing()


def _act_set_tag(act: Act, args: mlflow.ExperimentSetTag) -> mlflow.Nothing:
    found = _active(act, args.experiment_id)
    pair = mlflow.Pair(key=args.key, value=args.value)
    given = checks.pairs([pair], what="tag", limit=checks.MAX_EXPERIMENT_TAG)
    tags = {**dict(found.tags), **given}
    checks.room(len(tags), MAX_TAGS, what="tags")
    _replace(act, found, tags=tuple(sorted(tags.items())))
    return mlflow.Nothing()


def _act_delete_tag(act: Act, args: mlflow.ExperimentDeleteTag) -> mlflow.Nothing:
    found = _active(act, args.experiment_id)
    tags = dict(found.tags)
    if tags.pop(args.key, None) is None:
        raise NotFoundError(f"experiment `{found.id}` has no tag {args.key[:60]!a}")
    _replace(act, found, tags=tuple(sorted(tags.items())))
    return mlflow.Nothing()


# -- search -------------------------------------------------------------------------------------


def _search_asks(context: Context, args: mlflow.Search, caller: Caller) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def view_of(name: str) -> tuple[str, ...]:
    """Return the stages that a view type shows.

    Raises:
        InputError: There is no such view type.
    """
    view = shown.VIEWS.get(name.upper())
    if view is None:
        raise InputError(
            f"{name[:40]!a} is not one of {', '.join(shown.VIEWS)}", code="mlflow.view"
        )
    return view


def limit_of(number: int, *, most: int = mlflow.MAX_RESULTS) -> int:
    """Return how many results a page may have.

    Raises:
        InputError: None, or too many.
    """
    if not 0 < number <= most:
        raise InputError(f"max_results is 1 to {most}, got {number}", code="mlflow.limit")
    return number


def _act_search(look: Look, args: mlflow.Search) -> mlflow.ExperimentsFound:
    view, limit = view_of(args.view_type), limit_of(args.max_results)
    passes = filters.matcher(
        filters.parse_filter(args.filter, shown.EXPERIMENTS), shown.EXPERIMENTS
    )
    orders = filters.parse_orders(args.order_by, shown.EXPERIMENTS)
    visible = visible_experiments(look, "experiments/read")
    found = [one for one in visible if shown.stage(one) in view and passes(one)]
    found.sort(key=lambda one: (-one.created_ms, one.id))
    rows = filters.ordered(found, orders, shown.EXPERIMENTS)
    taken, token = pages.page(
        look,
        rows,
        [one.id for one in rows],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
    )
    return mlflow.ExperimentsFound(
        experiments=tuple(shown.experiment(one) for one in taken), next_page_token=token
    )


def visible_experiments(look: Look, action: str) -> list[Experiment]:
    """Return the experiments on which the caller may do `action`."""
    may: Callable[[Experiment], bool] = lambda one: look.may(  # noqa: E731 - read at the next line
        action, look.context.experiment_resource(one)
    )
    return [one for one in look.context.all("experiment", Experiment) if may(one)]


STEPS = (
    Step("experiment.create", mlflow.ExperimentCreate, on_workspace("experiments/write"),
         _act_create),
    Step("experiment.get", mlflow.ExperimentNamed, _own("experiments/read"), _act_get,
         Effect.READ),
    Step("experiment.find", mlflow.ExperimentByName, _find_asks, _act_find, Effect.READ),
    Step("experiment.search", mlflow.Search, _search_asks, _act_search, Effect.READ,
         apart=True),
    Step("experiment.update", mlflow.ExperimentUpdate, _own("experiments/write"), _act_update),
    Step("experiment.delete", mlflow.ExperimentNamed, _own("experiments/delete"), _act_delete),
    Step("experiment.restore", mlflow.ExperimentNamed, _own("experiments/delete"),
         _act_restore),
    Step("experiment.set-tag", mlflow.ExperimentSetTag, _own("experiments/write"),
         _act_set_tag),
    Step("experiment.delete-tag", mlflow.ExperimentDeleteTag, _own("experiments/write"),
         _act_delete_tag),
)  # fmt: skip
