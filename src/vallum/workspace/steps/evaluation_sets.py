"""Steps on evaluation sets: make, show, search, fill, tag, move between experiments, delete.

They quote what people asked, as traces do, and ask for the same rights, on every experiment that
they belong to.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from vallum.base import InputError, LimitExceededError, NotFoundError, new_id
from vallum.schema import Ask, Caller, EvaluationSet, Experiment, mlflow, mlflow_datasets
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Effect, Look, Step
from vallum.workspace.steps.experiments import experiment_of, limit_of, visible_experiments
from vallum.workspace.tracking import checks, evaluation, filters, pages, shown
from vallum.workspace.tracking.bundles import milliseconds

_READ, _WRITE = "experiments/traces/read", "experiments/traces/write"
_DELETE = "experiments/traces/delete"


class _OfSet(Protocol):
    @property
    def dataset_id(self) -> str: ...


def _named(context: Context, identities: Sequence[str]) -> tuple[Experiment, ...]:
    if len(identities) > evaluation.MAX_EXPERIMENTS:
        raise LimitExceededError(
            f"an evaluation set belongs to at most {evaluation.MAX_EXPERIMENTS} experiments",
            code="mlflow.batch",
        )
    found = [experiment_of(context, one) for one in identities or (shown.DEFAULT_ID,)]
    return tuple({one.id: one for one in found}.values())


def _on(context: Context, actions: Sequence[str], identities: Sequence[str]) -> Sequence[Ask]:
    return tuple(
        asked
        for one in _named(context, identities)
        for action in actions
        for asked in ask(action, context.experiment_resource(one))
    )


def _own(*actions: str) -> Asks:
    def asks(context: Context, args: _OfSet, caller: Caller) -> Sequence[Ask]:
        held = evaluation.set_of(context, args.dataset_id)
        return _on(context, actions, held.experiment_ids)

    return asks


def _put(act: Act, made: EvaluationSet, records: evaluation.Records) -> EvaluationSet:
    for identity in made.experiment_ids:
        if act.context.experiment(identity).deleted_ms:
            raise InputError(
                f"experiment `{identity}` was deleted", code="mlflow.deleted",
                hint="restore it first",
            )  # fmt: skip
    now = milliseconds(act)
    made = msgspec.structs.replace(made, updated_ms=now, updated_by=act.caller.name)
    made = evaluation.sealed(act.house, made, records)
    act.put("evaluation-set", made, on=made.experiment_ids[0], parent_id=act.context.workspace_id)
    return made


def _reply(held: EvaluationSet, records: evaluation.Records) -> mlflow_datasets.SetReply:
    return mlflow_datasets.SetReply(dataset=evaluation.set_shown(held, records))


def _opened(context: Context, act: Look, identity: str) -> evaluation.Opened:
    held = evaluation.set_of(context, identity)
    return held, evaluation.opened(act.house, held)


# -- make and fill ------------------------------------------------------------------------------


def _create_asks(
    context: Context, args: mlflow_datasets.SetCreate, caller: Caller
) -> Sequence[Ask]:
    return _on(context, (_WRITE,), args.experiment_ids)


def _act_create(act: Act, args: mlflow_datasets.SetCreate) -> mlflow_datasets.SetReply:
    now = milliseconds(act)
    made = EvaluationSet(
        id=str(new_id("evs")),
        name=checks.name(args.name, what="an evaluation set"),
        experiment_ids=tuple(one.id for one in _named(act.context, args.experiment_ids)),
        user=act.caller.name,
        created_ms=now,
        updated_ms=now,
        updated_by=act.caller.name,
        digest="",
        tags=tuple(sorted(evaluation.tags_told(args.tags).items())),
    )
    return _reply(_put(act, made, ()), ())


def _act_upsert(act: Act, args: mlflow_datasets.RecordsUpsert) -> mlflow_datasets.RecordsUpserted:
    held, records = _opened(act.context, act, args.dataset_id)
    records, new, changed = evaluation.merged(
        records, args.records, by=act.caller.name, now=milliseconds(act)
    )
    _put(act, held, records)
    return mlflow_datasets.RecordsUpserted(inserted_count=new, updated_count=changed)


def _act_delete_records(
    act: Act, args: mlflow_datasets.RecordsDelete
) -> mlflow_datasets.RecordsDeleted:
    held, records = _opened(act.context, act, args.dataset_id)
    left = evaluation.without(records, args.dataset_record_ids)
    _put(act, held, left)
    return mlflow_datasets.RecordsDeleted(deleted_count=len(records) - len(left))


def _act_set_tags(act: Act, args: mlflow_datasets.SetTags) -> mlflow_datasets.SetReply:
    held, records = _opened(act.context, act, args.dataset_id)
    tags = {**dict(held.tags), **evaluation.tags_told(args.tags)}
    checks.room(len(tags), evaluation.MAX_TAGS, what="tags of an evaluation set")
    made = msgspec.structs.replace(held, tags=tuple(sorted(tags.items())))
    return _reply(_put(act, made, records), records)


def _act_delete_tag(act: Act, args: mlflow_datasets.SetDeleteTag) -> mlflow.Nothing:
    held, records = _opened(act.context, act, args.dataset_id)
    tags = dict(held.tags)
    if tags.pop(args.key, None) is None:
        raise NotFoundError(f"the evaluation set has no tag {args.key[:60]!a}")
    _put(act, msgspec.structs.replace(held, tags=tuple(sorted(tags.items()))), records)
    return mlflow.Nothing()


def _act_delete(act: Act, args: mlflow_datasets.SetNamed) -> mlflow.Nothing:
    held = evaluation.set_of(act.context, args.dataset_id)
    act.remove("evaluation-set", held.id, on=held.experiment_ids[0])
    return mlflow.Nothing()


# -- experiments that it belongs to -------------------------------------------------------------


def _move_asks(context: Context, args: mlflow_datasets.SetMove, caller: Caller) -> Sequence[Ask]:
    """Ask for reading, too: whoever may read another experiment would read the set from there."""
    held = evaluation.set_of(context, args.dataset_id)
    named = [one.id for one in _named(context, args.experiment_ids)]
    every = dict.fromkeys((*held.experiment_ids, *named))
    return _on(context, (_READ, _WRITE), tuple(every)[: evaluation.MAX_EXPERIMENTS + 1])


def _moved(act: Act, args: mlflow_datasets.SetMove, *, add: bool) -> mlflow_datasets.SetReply:
    held, records = _opened(act.context, act, args.dataset_id)
    named = [one.id for one in _named(act.context, args.experiment_ids)]
    left = (
        tuple(dict.fromkeys((*held.experiment_ids, *named)))
        if add
        else tuple(one for one in held.experiment_ids if one not in named)
    )
    if not left:
        raise InputError(
            "an evaluation set belongs to one experiment at least", code="mlflow.value",
            hint="add it to another one first, or delete it",
        )  # fmt: skip
    made = msgspec.structs.replace(held, experiment_ids=left)
    return _reply(_put(act, made, records), records)


def _act_add(act: Act, args: mlflow_datasets.SetMove) -> mlflow_datasets.SetReply:
    return _moved(act, args, add=True)


def _act_remove(act: Act, args: mlflow_datasets.SetMove) -> mlflow_datasets.SetReply:
    return _moved(act, args, add=False)


# -- read ---------------------------------------------------------------------------------------


def _act_get(act: Act, args: mlflow_datasets.SetNamed) -> mlflow_datasets.SetReply:
    return _reply(*_opened(act.context, act, args.dataset_id))


def _act_experiments(act: Act, args: mlflow_datasets.SetNamed) -> mlflow_datasets.SetExperiments:
    held = evaluation.set_of(act.context, args.dataset_id)
    return mlflow_datasets.SetExperiments(experiment_ids=held.experiment_ids)


def _act_records(look: Look, args: mlflow_datasets.RecordsOf) -> mlflow_datasets.RecordsFound:
    held, records = _opened(look.context, look, args.dataset_id)
    taken, token = pages.page(
        look,
        records,
        [one.id for one in records],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit_of(args.max_results),
        token=args.page_token,
    )
    told = [evaluation.record_shown(held, one) for one in taken]
    return mlflow_datasets.RecordsFound(
        records=msgspec.json.encode(told).decode(), next_page_token=token
    )


def _search_asks(
    context: Context, args: mlflow_datasets.SetSearch, caller: Caller
) -> Sequence[Ask]:
    return ()  # each set is decided by its experiments


def _act_search(look: Look, args: mlflow_datasets.SetSearch) -> mlflow_datasets.SetsFound:
    limit = limit_of(args.max_results)
    passes = filters.matcher(
        filters.parse_filter(args.filter_string, evaluation.SETS), evaluation.SETS
    )
    orders = filters.parse_orders(args.order_by, evaluation.SETS)
    visible = {one.id: one for one in visible_experiments(look, _READ) if not one.deleted_ms}
    wanted = set(args.experiment_ids)
    if shown.DEFAULT_ID in wanted:
        wanted |= {one.id for one in visible.values() if one.name == shown.DEFAULT}
    found = [
        (held, ())
        for held in look.context.all("evaluation-set", EvaluationSet)
        if visible.keys() >= set(held.experiment_ids)
        and (not wanted or wanted.intersection(held.experiment_ids))
        and passes((held, ()))
    ]
    found.sort(key=lambda one: (-one[0].created_ms, one[0].id))
    rows = filters.ordered(found, orders, evaluation.SETS)
    taken, token = pages.page(
        look,
        rows,
        [held.id for held, _ in rows],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
    )
    return mlflow_datasets.SetsFound(
        datasets=tuple(
            evaluation.set_shown(held, evaluation.opened(look.house, held)) for held, _ in taken
        ),
        next_page_token=token,
    )


STEPS = (
    Step("evaluation-set.create", mlflow_datasets.SetCreate, _create_asks, _act_create),
    Step("evaluation-set.get", mlflow_datasets.SetNamed, _own(_READ), _act_get, Effect.READ),
    Step("evaluation-set.experiments", mlflow_datasets.SetNamed, _own(_READ), _act_experiments,
         Effect.READ),
    Step("evaluation-set.search", mlflow_datasets.SetSearch, _search_asks, _act_search,
         Effect.READ, apart=True),
    Step("evaluation-set.records", mlflow_datasets.RecordsOf, _own(_READ), _act_records,
         Effect.READ),
    Step("evaluation-set.upsert", mlflow_datasets.RecordsUpsert, _own(_WRITE), _act_upsert),
    Step("evaluation-set.delete-records", mlflow_datasets.RecordsDelete, _own(_WRITE),
         _act_delete_records),
    Step("evaluation-set.set-tags", mlflow_datasets.SetTags, _own(_READ, _WRITE), _act_set_tags),
    Step("evaluation-set.delete-tag", mlflow_datasets.SetDeleteTag, _own(_WRITE),
         _act_delete_tag),
    Step("evaluation-set.add", mlflow_datasets.SetMove, _move_asks, _act_add),
    Step("evaluation-set.remove", mlflow_datasets.SetMove, _move_asks, _act_remove),
    Step("evaluation-set.delete", mlflow_datasets.SetNamed, _own(_DELETE), _act_delete),
)  # fmt: skip
