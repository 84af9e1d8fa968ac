"""Private jobs: charged before they are queued, given back unused, published only with a report."""

import io
import json
import tarfile
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from conftest_workspace import Place

from vallum.base import InputError, LimitExceededError, NotFoundError, RefusedError
from vallum.sandbox import BubblewrapRunner
from vallum.schema import Claim, Finish, Job, JobPrivacy, JobState, PrivacyBudget, api
from vallum.schema import privacy as wire
from vallum.worker.run import log_of, run_job, status_of
from vallum.workspace.context import Context

CODE = """
import json
from pathlib import Path
import numpy as np
from vallum.defend.dp import LogisticRegression, leave_report

asked = json.loads(Path("/in/job.json").read_text())["privacy"]
rows = np.loadtxt("/in/train", delimiter=",", skiprows=1)
model = LogisticRegression(
    epsilon=float(asked["epsilon"]), delta=float(asked["delta"]), data_norm=2, classes=[0, 1],
    steps=20,
).fit(rows[:, :2], rows[:, 2].astype(int))
print("right", model.score(rows[:, :2], rows[:, 2]))
leave_report(model.spend_)
"""
DECLARATION = {
    "version": "vallum.dp/1",
    "unit": {"rows": True},
    "columns": {"a": {"type": "number", "lower": -1, "upper": 1}},
}


def code(text: str = CODE) -> io.BytesIO:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        member = tarfile.TarInfo("train.py")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    held.seek(0)
    return held


def submit(place: Place, name: str = "fit", *, dry_run: bool = False, **more: Any) -> None:
    arguments: dict[str, Any] = {
        "inputs": {"train": "data/points:1"},
        "privacy": JobPrivacy(epsilon="0.6", delta="0.00001"),
        **more,
    }
    place.do(
        "job.submit", api.JobSubmit(name=name, entry="train.py", **arguments), content=code(),
        dry_run=dry_run,
    )  # fmt: skip


def spent(place: Place) -> tuple[Decimal, Decimal]:
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        context = Context(house.records, snapshot, house.workspace_id)
        (budget,) = context.all("budget", PrivacyBudget)
    return Decimal(budget.spent_epsilon), Decimal(budget.spent_delta)


@pytest.fixture
def ready(place: Place) -> Place:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (800, 2))
    lines = [f"{a:.4f},{b:.4f},{int(a + b > 0)}" for a, b in x]
    table = "\n".join(["a,b,y", *lines, ""]).encode()
    place.do("data.create", api.DataCreate(name="points", format="csv"), content=io.BytesIO(table))
    place.do("dp.declare", wire.DpDeclare(name="points", declaration=json.dumps(DECLARATION)))
    place.do("dp.budget", wire.DpBudget(name="points", epsilon="1", delta="0.0001"))
    return place


def finish(place: Place, *, outputs: dict[str, bytes]) -> Job:
    claimed = place.do("job.claim", Claim(worker="w")).value
    done = place.do(
        "job.finish",
        Finish(job_id=claimed.job.id, status="ok", exit_code=0, reason="", enforced=(), logs=b"",
               outputs=outputs),
    ).value  # fmt: skip
    assert isinstance(done, api.JobShown)
    return done.job


def test_a_job_is_charged_before_it_is_queued_and_refused_over_budget(ready: Place) -> None:
    """The second does not fit, and is not queued; a dry run charges nothing."""
    submit(ready, dry_run=True)
    assert spent(ready) == (0, 0)
    submit(ready)
    assert spent(ready) == (Decimal("0.6"), Decimal("0.00001"))
    with pytest.raises(LimitExceededError, match=r"epsilon 0.4 left, and this costs 0.6"):
        submit(ready, "again")
    with pytest.raises(NotFoundError):
        ready.do("job.show", api.Named(name="again"))
    assert spent(ready)[0] == Decimal("0.6")
    assert ready.verify().findings == ()


def test_a_job_that_never_ran_gives_back_what_it_reserved(ready: Place) -> None:
    """Cancelled in the queue; not one that was started, nor into a renewed budget."""
    submit(ready)
    ready.do("job.cancel", api.Named(name="fit"))
    assert spent(ready) == (0, 0)
    submit(ready, "runs")
    ready.do("job.claim", Claim(worker="w"))
    ready.do("job.cancel", api.Named(name="runs"))
    assert spent(ready)[0] == Decimal("0.6")
    renewed = wire.DpBudget(
        name="points", epsilon="1", delta="0.0001", renew=True, reason="a new year"
    )
    ready.do("dp.budget", renewed)
    submit(ready, "old")
    ready.do("dp.budget", renewed)
    submit(ready, "new")
    ready.do("job.cancel", api.Named(name="old"))
    assert spent(ready)[0] == Decimal("0.6")


def test_who_may_not_query_does_not_spend(ready: Place) -> None:
    """Reading the data is not the right to use up what others may ask of it."""
    ready.do(
        "role.create",
        api.RoleCreate(
            name="Trainer", actions=("*/read", "jobs/write"),
            data_actions=("data/versions/content/read",),
        ),
    )  # fmt: skip
    tom = ready.person("tom", "Trainer")
    arguments = api.JobSubmit(
        name="fit", entry="train.py", inputs={"train": "data/points:1"},
        privacy=JobPrivacy(epsilon="0.1", delta="0.00001"),
    )  # fmt: skip
    with pytest.raises(RefusedError, match="query"):
        ready.do("job.submit", arguments, who=tom, content=code())
    assert spent(ready) == (0, 0)


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({}, "the job left no privacy report"),
        ({"privacy.json": b"{"}, "cannot be read"),
        ({"privacy.json": b"x" * 70_000}, "cannot be read"),
    ],
)
def test_nothing_is_published_without_a_report(
    ready: Place, outputs: dict[str, bytes], reason: str
) -> None:
    """The job fails, and stays charged: it has seen the data."""
    submit(ready)
    done = finish(ready, outputs=outputs)
    assert done.state is JobState.FAILED
    assert reason in done.reason
    assert spent(ready)[0] == Decimal("0.6")


def test_a_report_beyond_what_was_reserved_fails_the_job(ready: Place) -> None:
    """What the code says about itself may be less, never more."""
    import msgspec

    from vallum.defend.dp import Spend

    told = Spend(
        epsilon=0.61, delta=1e-5, accountant="pld", noise_multiplier=1.0, sampling_rate=1.0,
        steps=1, max_grad_norm=1.0, records=800,
    )  # fmt: skip
    submit(ready)
    done = finish(ready, outputs={"privacy.json": msgspec.json.encode(told)})
    assert done.state is JobState.FAILED
    assert "reports epsilon 0.61, and 0.6 was reserved" in done.reason


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"inputs": {}}, "exactly one data input, got 0"),
        ({"inputs": {"a": "data/points:1", "b": "data/points:1"}}, "one data input, got 2"),
        ({"privacy": JobPrivacy(epsilon="0.6", delta="0")}, "spends a delta"),
        ({"privacy": JobPrivacy(epsilon="nan", delta="0.1")}, "epsilon must be from 0"),
    ],
)
def test_what_cannot_be_charged_is_refused(ready: Place, more: dict[str, Any], said: str) -> None:
    """Before anything is stored."""
    with pytest.raises(InputError, match=said):
        submit(ready, **more)
    assert spent(ready) == (0, 0)


def test_a_budget_that_counts_persons_is_not_spent_by_records(place: Place) -> None:
    """One person may have many records: what training protects is less than the budget means."""
    table = "email,value\n" + "".join(f"p{at % 20}@example.org,{at}\n" for at in range(60))
    place.do(
        "data.create", api.DataCreate(name="points", format="csv"),
        content=io.BytesIO(table.encode()),
    )  # fmt: skip
    declaration = {
        "version": "vallum.dp/1", "unit": {"column": "email", "max_rows": 1},
        "columns": {"value": {"type": "integer", "lower": 0, "upper": 60}},
    }  # fmt: skip
    place.do("dp.declare", wire.DpDeclare(name="points", declaration=json.dumps(declaration)))
    place.do("dp.budget", wire.DpBudget(name="points", epsilon="1", delta="0.0001"))
    with pytest.raises(InputError, match="counts by `email`, and training protects records"):
        submit(place)


def test_a_private_job_trains_in_the_sandbox_and_reports(ready: Place) -> None:
    """Our regression runs inside, finds its budget in `job.json`, and its report comes back."""
    submit(ready)
    claimed = ready.do("job.claim", Claim(worker="w")).value
    outcome, reason = run_job(BubblewrapRunner.open(), claimed.job, claimed.code, claimed.inputs)
    assert outcome is not None, reason
    assert status_of(outcome) == "ok", log_of(outcome)
    done = ready.do(
        "job.finish",
        Finish(job_id=claimed.job.id, status="ok", exit_code=0, reason="", enforced=(),
               logs=log_of(outcome), outputs=outcome.outputs),
    ).value.job  # fmt: skip
    assert done.state is JobState.COMPLETED, done.reason
    told = json.loads(done.spend)
    assert 0.55 < told["epsilon"] <= 0.6
    assert told["records"] == 800
    assert float(log_of(outcome).split()[1]) > 0.7
