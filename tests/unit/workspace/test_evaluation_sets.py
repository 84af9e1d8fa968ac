"""Evaluation sets: records are merged, encrypted, and theirs who may read every experiment."""

import json
from typing import Any

import pytest
from conftest_workspace import Place

from vallum.base import InputError, LimitExceededError, NotFoundError, RefusedError
from vallum.schema import Caller, mlflow, mlflow_datasets
from vallum.workspace.tracking import evaluation

QUESTION = "may my neighbour ana borrow money"


def experiment(place: Place, name: str) -> str:
    made = place.do("experiment.create", mlflow.ExperimentCreate(name=name)).value
    assert isinstance(made, mlflow.ExperimentCreated)
    return made.experiment_id


def create(
    place: Place, *experiments: str, who: Caller | None = None, **more: Any
) -> mlflow_datasets.SetShown:
    arguments = mlflow_datasets.SetCreate(name="q", experiment_ids=experiments, **more)
    made = place.do("evaluation-set.create", arguments, who=who).value
    assert isinstance(made, mlflow_datasets.SetReply)
    return made.dataset


def fill(place: Place, identity: str, records: object) -> tuple[int, int]:
    told = records if isinstance(records, str) else json.dumps(records)
    made = place.do(
        "evaluation-set.upsert", mlflow_datasets.RecordsUpsert(dataset_id=identity, records=told)
    ).value
    assert isinstance(made, mlflow_datasets.RecordsUpserted)
    return made.inserted_count, made.updated_count


def records(place: Place, identity: str, **more: Any) -> tuple[list[Any], str]:
    found = place.do(
        "evaluation-set.records", mlflow_datasets.RecordsOf(dataset_id=identity, **more)
    ).value
    assert isinstance(found, mlflow_datasets.RecordsFound)
    return json.loads(found.records), found.next_page_token


def found(place: Place, text: str = "", who: Caller | None = None, **more: Any) -> list[str]:
    asked = mlflow_datasets.SetSearch(filter_string=text, **more)
    reply = place.do("evaluation-set.search", asked, who=who).value
    assert isinstance(reply, mlflow_datasets.SetsFound)
    return [one.dataset_id for one in reply.datasets]


def test_records_of_the_same_inputs_are_one_and_nothing_of_them_lies_in_the_open(
    place: Place,
) -> None:
    made = create(place, experiment(place, "x"))
    first = {"inputs": {"a": 1, "b": QUESTION}, "expectations": {"right": "no"}, "tags": {"k": 1}}
    assert fill(place, made.dataset_id, [first, {"inputs": {"a": 2}}]) == (2, 0)
    again = {"inputs": {"b": QUESTION, "a": 1}, "outputs": "no", "expectations": {"kind": True}}
    assert fill(place, made.dataset_id, [again]) == (0, 1)
    (one, other), token = records(place, made.dataset_id)
    assert (one["expectations"], one["outputs"], one["tags"], token) == (
        {"right": "no", "kind": True}, "no", {"k": "1"}, "",
    )  # fmt: skip
    assert (one["created_by"], other["inputs"]) == ("owner", {"a": 2})
    page, token = records(place, made.dataset_id, max_results=1)
    rest, end = records(place, made.dataset_id, max_results=1, page_token=token)
    assert ([*page, *rest], end) == ([one, other], "")
    stored = b"".join(one.read_bytes() for one in place.places.data.rglob("*") if one.is_file())
    assert QUESTION.encode() not in stored
    doomed = mlflow_datasets.RecordsDelete(
        dataset_id=made.dataset_id, dataset_record_ids=(other["dataset_record_id"], "evr-x")
    )
    gone = place.do("evaluation-set.delete-records", doomed).value
    assert gone == mlflow_datasets.RecordsDeleted(deleted_count=1)
    shown = place.do(
        "evaluation-set.get", mlflow_datasets.SetNamed(dataset_id=made.dataset_id)
    ).value
    assert isinstance(shown, mlflow_datasets.SetReply)
    assert json.loads(shown.dataset.profile) == {"num_records": 1}
    assert json.loads(shown.dataset.schema)["inputs"] == {"a": "integer", "b": "string"}
    assert shown.dataset.digest != made.digest
    assert place.verify().findings == ()


@pytest.mark.parametrize(
    "told",
    ["x", "{}", "[1]", "[{}]", '[{"inputs": []}]', '[{"inputs": {}, "tags": [1]}]',
     '[{"inputs": {"a": ' + "[" * 5000 + "]" * 5000 + "}}]"],
)  # fmt: skip
def test_what_are_no_records_changes_nothing(place: Place, told: str) -> None:
    made = create(place, experiment(place, "x"))
    with pytest.raises(InputError):
        fill(place, made.dataset_id, told)
    assert records(place, made.dataset_id) == ([], "")


def test_a_set_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(place, experiment(place, "x"))
    monkeypatch.setattr(evaluation, "MAX_RECORDS", 2)
    with pytest.raises(LimitExceededError):
        fill(place, made.dataset_id, [{"inputs": {"a": at}} for at in range(3)])
    monkeypatch.setattr(evaluation, "MAX_HELD", 2000)
    with pytest.raises(LimitExceededError):
        fill(place, made.dataset_id, [{"inputs": {"a": "x" * 2000}}])


def test_a_set_is_for_who_may_read_traces_of_all_its_experiments(place: Place) -> None:
    ours, theirs = experiment(place, "ours"), experiment(place, "theirs")
    made = create(place, ours, tags='{"team": "risk", "n": 1}')
    contributor = place.person("contributor", "Contributor")
    reader = place.person("reader", "AzureML Data Scientist", scope="experiment/ours")
    assert found(place) == found(place, who=reader) == [made.dataset_id]
    assert found(place, who=contributor) == found(place, who=place.person("newcomer")) == []
    with pytest.raises(RefusedError):
        place.do(
            "evaluation-set.get", mlflow_datasets.SetNamed(dataset_id=made.dataset_id),
            who=contributor,
        )  # fmt: skip
    assert found(place, "name = 'q' AND tags.team = 'risk'", experiment_ids=(ours,)) == [
        made.dataset_id
    ]
    assert found(place, "tags.team = 'fraud'") == found(place, experiment_ids=(theirs,)) == []
    move = mlflow_datasets.SetMove(dataset_id=made.dataset_id, experiment_ids=(theirs,))
    with pytest.raises(NotFoundError):  # whoever may not see an experiment puts nothing there
        place.do("evaluation-set.add", move, who=reader)
    place.do("evaluation-set.add", move)
    assert found(place, who=reader) == []
    with pytest.raises((NotFoundError, RefusedError)):
        place.do(
            "evaluation-set.records", mlflow_datasets.RecordsOf(dataset_id=made.dataset_id),
            who=reader,
        )  # fmt: skip
    place.do("evaluation-set.remove", move)
    assert found(place, who=reader) == [made.dataset_id]
    last = mlflow_datasets.SetMove(dataset_id=made.dataset_id, experiment_ids=(ours,))
    with pytest.raises(InputError, match="one experiment at least"):
        place.do("evaluation-set.remove", last)
    place.do("experiment.delete", mlflow.ExperimentNamed(experiment_id=ours))
    assert found(place) == []
    with pytest.raises(InputError, match="deleted"):
        fill(place, made.dataset_id, [{"inputs": {"a": 1}}])
