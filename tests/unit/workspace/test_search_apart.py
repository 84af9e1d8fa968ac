"""Searches read apart from the one writer, and still show nothing that may not be seen."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from conftest_workspace import Place

from vallum.base import InputError
from vallum.schema import Run, api, mlflow
from vallum.workspace.tracking import filters

SCIENTIST = "AzureML Data Scientist"


@pytest.fixture
def experiment(place: Place) -> str:
    """Return an experiment with a run."""
    made = place.do("experiment.create", mlflow.ExperimentCreate(name="x")).value
    assert isinstance(made, mlflow.ExperimentCreated)
    place.do("run.create", mlflow.RunCreate(experiment_id=made.experiment_id))
    return made.experiment_id


@pytest.fixture
def amid(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return what makes something happen once, in another thread, amid the next search."""
    matcher = filters.matcher

    def amid(happens: Callable[[], object]) -> None:
        left = [happens]

        def hooked(*given: Any) -> Callable[[Run], bool]:
            passes = matcher(*given)

            def test(run: Run) -> bool:
                if left:
                    thread = threading.Thread(target=left.pop(), daemon=True)
                    thread.start()
                    thread.join(20)
                    assert not thread.is_alive(), "it waits for the search"
                return passes(run)

            return test

        monkeypatch.setattr("vallum.workspace.steps.runs.filters.matcher", hooked)

    return amid


def names(place: Place, experiment: str, **more: Any) -> int:
    search = mlflow.RunSearch(experiment_ids=(experiment,))
    found = place.do("run.search", search, **more).value
    assert isinstance(found, mlflow.RunsFound)
    return len(found.runs)


def test_who_writes_does_not_wait_for_a_search(
    place: Place, experiment: str, amid: Callable[[Callable[[], object]], None]
) -> None:
    amid(lambda: place.do("run.create", mlflow.RunCreate(experiment_id=experiment)))
    assert names(place, experiment) == 1  # the view of when it began
    assert names(place, experiment) == 2


def test_a_right_that_is_taken_amid_a_search_no_longer_counts(
    place: Place, experiment: str, amid: Callable[[Callable[[], object]], None]
) -> None:
    ana = place.person("ana")
    given = place.do(
        "role.assign", api.RoleAssign(role=SCIENTIST, principal="ana", scope="experiment/x")
    ).value
    assert isinstance(given, api.Done)
    assert names(place, experiment, who=ana) == 1
    amid(lambda: place.do("role.unassign", api.Named(name=given.id)))
    assert names(place, experiment, who=ana) == 0


def test_a_search_is_one_entry_whatever_comes_of_it(place: Place, experiment: str) -> None:
    before = len(place.entries())
    names(place, experiment)
    with pytest.raises(InputError):
        place.do("run.search", mlflow.RunSearch(experiment_ids=(experiment,), filter="((("))
    new = place.entries()[before:]
    assert [step for _, step, *_ in new] == ["run.search", "run.search"]
