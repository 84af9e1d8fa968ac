"""Claim, run, hand back: one job at a time, until told to stop."""

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from vallum.base import NotFoundError, VallumError
from vallum.sandbox import Runner
from vallum.schema import Claimed, Finish
from vallum.worker.run import log_of, run_job, status_of

_LOG = structlog.get_logger("vallum.worker")
POLL_S = 0.2


class Desk(Protocol):
    """Where jobs come from and go back to; the control process behind a socket."""

    def claim(self) -> Claimed:
        """Return the oldest queued job; `job` is None if there is none."""
        ...

    def finish(self, finish: Finish) -> None:
        """Hand back what the sandbox left."""
        ...


def work(desk: Desk, open_runner: Callable[[], Runner], stop: threading.Event) -> None:
    """Serve until `stop` is set; an error of one job never ends the loop."""
    runner: Runner | None = None
    while not stop.is_set():
        try:
            claimed = desk.claim()
        except NotFoundError:
            claimed = Claimed()
        except VallumError as error:
            _LOG.warning("no job could be claimed", code=error.code)
            claimed = Claimed()
        job = claimed.job
        if job is None:
            stop.wait(POLL_S)
            continue
        _LOG.info("job claimed", job=job.id)
        try:
            if runner is None:
                runner = open_runner()
            outcome, reason = run_job(runner, job, claimed.code, claimed.inputs)
        except VallumError as error:
            outcome, reason = None, f"{error.message} ({error.code})"
        if outcome is None:
            finish = Finish(
                job_id=job.id,
                status="failed",
                exit_code=-1,
                reason=reason,
                enforced=(),
                logs=reason.encode(),
            )
        else:
            finish = Finish(
                job_id=job.id,
                status=status_of(outcome),
                exit_code=outcome.exit_code,
                reason=outcome.reason,
                enforced=outcome.enforced,
                logs=log_of(outcome),
                outputs=outcome.outputs,
            )
        try:
            desk.finish(finish)
        except VallumError as error:
            _LOG.warning("a job could not be handed back", job=job.id, code=error.code)
            _give_up(desk, finish, error)


def _give_up(desk: Desk, finish: Finish, error: VallumError) -> None:
    """Hand a job back as failed whose outputs were refused, so that its owner sees why."""
    failed = Finish(
        job_id=finish.job_id,
        status="failed",
        exit_code=finish.exit_code,
        reason=f"{error.message} ({error.code})"[:1000],
        enforced=finish.enforced,
        logs=finish.logs,
    )
    try:
        desk.finish(failed)
    except VallumError as again:
        _LOG.error("a job is stuck", job=finish.job_id, code=again.code)
