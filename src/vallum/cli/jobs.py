"""`vallum job …`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError
from vallum.cli.border import (
    SESSION,
    check_content,
    content_out,
    hint,
    say,
    show,
    table,
)
from vallum.cli.options import DryRun, Output
from vallum.cli.progress import progress
from vallum.schema import JobLimits, JobPrivacy, JobState, api

job = typer.Typer(name="job", help="Jobs in the sandbox: submit, show, logs, cancel.",
                  no_args_is_help=True)  # fmt: skip
Name = Annotated[str, typer.Argument(help="Name.")]


@job.command("submit")
def job_submit(
    name: Name,
    code: Annotated[Path, typer.Argument(help="Folder with the code.")],
    entry: Annotated[str, typer.Option(help="File in it to run.")],
    input_: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=data/NAME:VERSION")
    ] = None,
    output: Annotated[list[str] | None, typer.Option(help="FILE=model/NAME")] = None,
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE")] = None,
    wall_s: Annotated[int, typer.Option(help="Seconds it may take.")] = 900,
    epsilon: Annotated[
        str, typer.Option(help="Train privately: charge this to the data's budget beforehand.")
    ] = "",
    delta: Annotated[
        str, typer.Option(help="Charged beside --epsilon; 0.000001 if not given.")
    ] = "",
    wait: Annotated[bool, typer.Option(help="Wait until it ends.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Queue a job. Example: vallum job submit fit code/ --entry train.py --input d=data/p:1."""
    if delta and not epsilon:
        raise InputError("--delta is charged beside --epsilon", code="cli.usage")
    with (
        progress("submitting and waiting" if wait else "submitting") as advance,
        SESSION.client(advance) as client,
    ):
        made = client.jobs.submit(
            name, code, entry=entry, inputs=_pairs(input_), outputs=_pairs(output),
            parameters=_pairs(parameter), limits=JobLimits(wall_s=wall_s),
            privacy=JobPrivacy(epsilon=epsilon, delta=delta or "0.000001") if epsilon else None,
            dry_run=dry_run,
        )  # fmt: skip
        while wait and not dry_run and made.state in {JobState.QUEUED, JobState.RUNNING}:
            time.sleep(0.3)
            made = client.jobs.show(name)
    show("job.submit", api.JobShown(job=made), f"job {made.name} is {made.state.value}")
    if made.state is JobState.FAILED:
        say(f"the job failed: {made.reason or f'exit code {made.exit_code}'}")
        hint(f"vallum job logs {made.name}")
        raise typer.Exit(1)


@job.command("list")
def job_list() -> None:
    """List what you may read. Example: vallum job list."""
    with SESSION.client() as client:
        found = client.jobs.list()
    rows = [(one.name, one.state.value, one.created_at[:19], one.reason) for one in found]
    show("job.list", api.Listing(jobs=tuple(found)),
         table(("name", "state", "created", "reason"), rows))  # fmt: skip


@job.command("show")
def job_show(name: Name) -> None:
    """Show a job. Example: vallum job show fit."""
    with SESSION.client() as client:
        found = client.jobs.show(name)
    text = f"job {found.name} is {found.state.value} {found.reason}".rstrip()
    if found.privacy is not None:
        text += f"\nreserved epsilon {found.privacy.epsilon}, delta {found.privacy.delta}"
    if found.spend:
        text += f"\nits code reports {found.spend}"
    if found.enforced:
        text += f"\nlimits held: {', '.join(found.enforced)}"
    show("job.show", api.JobShown(job=found), text)


@job.command("logs")
def job_logs(name: Name, output: Output = None) -> None:
    """Read a job's output. Example: vallum job logs fit."""
    check_content(output)
    with SESSION.client() as client:
        content_out("job.logs", client.jobs.stream(name), output)


@job.command("cancel")
def job_cancel(name: Name, dry_run: DryRun = False) -> None:
    """Cancel a job. Example: vallum job cancel fit."""
    with SESSION.client() as client:
        done = client.jobs.cancel(name, dry_run=dry_run)
    show("job.cancel", done, done.text)


def _pairs(given: list[str] | None) -> dict[str, str]:
    out = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"`{text[:60]}` is not NAME=VALUE", code="cli.pair")
        out[name] = value
    return out
