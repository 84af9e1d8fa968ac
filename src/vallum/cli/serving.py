"""`vallum endpoint …` and `vallum job …`."""

import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vallum.base import InputError
from vallum.cli.azure import read_deployment, read_endpoint
from vallum.cli.border import (
    SESSION,
    check_content,
    check_output,
    content_out,
    hint,
    read_file,
    say,
    show,
    table,
    write_out,
)
from vallum.cli.options import DryRun, Output
from vallum.cli.progress import progress
from vallum.schema import JobLimits, JobPrivacy, JobState, OutputPolicy, QueryWatch, api
from vallum.sdk import read_key_file

endpoint = typer.Typer(
    name="endpoint",
    help="Endpoints: create, deploy, share traffic, invoke, keys, top.",
    no_args_is_help=True,
)
job = typer.Typer(name="job", help="Jobs in the sandbox: submit, show, logs, cancel.",
                  no_args_is_help=True)  # fmt: skip
Name = Annotated[str, typer.Argument(help="Name.")]
AllowNetwork = Annotated[
    list[str] | None,
    typer.Option(help="Network that callers may come from, as 192.0.2.0/24; all if not given."),
]


def _endpoint(shown: api.EndpointShown) -> str:
    one = shown.endpoint
    lines = [f"endpoint {one.name} ({one.stage}), at most {one.rate_per_s}/s a key"]
    for deployed in shown.deployments:
        share = one.traffic.get(deployed.name, 0)
        copies = one.mirror.get(deployed.name, 0)
        lines.append(
            f"  {deployed.name:<10} {deployed.state.value:<8} {share:>3} %"
            f"{f' and copies of {copies} %' if copies else ''}"
            f"  {deployed.model_digest} {deployed.reason}".rstrip()
        )
    if one.networks:
        lines.append(f"open to {', '.join(one.networks)}")
    if shown.scoring_uri:
        lines.append(f"scored at {shown.scoring_uri}")
    return "\n".join(lines)


@endpoint.command("create")
def endpoint_create(
    name: Annotated[str, typer.Argument(help="Name; or in the file.")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Endpoint file of the Azure ML CLI v2.")
    ] = None,
    stage: Annotated[str, typer.Option(help="development or production.")] = "development",
    rate_per_s: Annotated[int, typer.Option(help="Requests a second a key.")] = 1000,
    burst: Annotated[int, typer.Option(help="Requests at once a key.")] = 2000,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    allow_network: AllowNetwork = None,
    dry_run: DryRun = False,
) -> None:
    """Create an endpoint. Example: vallum endpoint create risk --stage production."""
    networks = tuple(allow_network or ())
    if file is not None:
        asked = read_endpoint(file)
        if asked.traffic or asked.mirror:
            raise InputError(
                f"`{file}` shares traffic among deployments, which come after the endpoint",
                code="cli.azure",
                hint=f"once they are deployed: vallum endpoint update -f {file}",
            )
        name, description = name or asked.name, description or asked.description
        networks = networks or asked.networks
    if not name:
        raise InputError("name the endpoint, or a --file that does", code="cli.usage")
    with SESSION.client() as client:
        shown = client.endpoints.create(
            name, stage=stage, rate_per_s=rate_per_s, burst=burst, description=description,
            networks=networks, dry_run=dry_run,
        )  # fmt: skip
    show("endpoint.create", shown, _endpoint(shown))


@endpoint.command("update")
def endpoint_update(
    name: Annotated[str, typer.Argument(help="Name; or in the file.")] = "",
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Endpoint file of the Azure ML CLI v2: its traffic."),
    ] = None,
    rate_per_s: Annotated[int | None, typer.Option(help="Requests a second a key.")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once a key.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="Rows a request.")] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    allow_network: AllowNetwork = None,
    any_network: Annotated[bool, typer.Option(help="Callers may come from anywhere.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Change what an endpoint lets in.

    Example: vallum endpoint update risk --allow-network 10.0.0.0/8.
    """
    networks: tuple[str, ...] | None = tuple(allow_network or ()) or None
    if any_network:
        if networks:
            raise InputError("give networks, or --any-network", code="cli.usage")
        networks = ()
    asked = None
    if file is not None:
        asked = read_endpoint(file)
        name, description = name or asked.name, description or asked.description or None
        networks = networks if networks is not None else asked.networks or None
    if not name:
        raise InputError("name the endpoint, or a --file that does", code="cli.usage")
    changed = (rate_per_s, burst, max_rows, description, networks)
    shown = None
    with SESSION.client() as client:
        if asked is not None and (asked.traffic or asked.mirror):
            shown = client.endpoints.traffic(
                name, asked.traffic, mirror=asked.mirror, dry_run=dry_run
            )
        if shown is None or any(one is not None for one in changed):
            shown = client.endpoints.update(
                name, rate_per_s=rate_per_s, burst=burst, max_rows=max_rows,
                description=description, networks=networks, dry_run=dry_run,
            )  # fmt: skip
    show("endpoint.update", shown, _endpoint(shown))


@endpoint.command("list")
def endpoint_list() -> None:
    """List what you may read. Example: vallum endpoint list."""
    with SESSION.client() as client:
        found = client.endpoints.list()
    rows = [(one.name, one.stage, one.created_at[:19]) for one in found]
    show("endpoint.list", api.Listing(endpoints=tuple(found)),
         table(("name", "stage", "created"), rows))  # fmt: skip


@endpoint.command("show")
def endpoint_show(name: Name) -> None:
    """Show an endpoint. Example: vallum endpoint show risk."""
    with SESSION.client() as client:
        shown = client.endpoints.show(name)
    show("endpoint.show", shown, _endpoint(shown))


@endpoint.command("deploy")
def endpoint_deploy(
    name: Annotated[str, typer.Argument(help="Endpoint; or in the file.")] = "",
    model: Annotated[str, typer.Argument(help="MODEL, MODEL:VERSION or MODEL@ALIAS.")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Deployment file of the Azure ML CLI v2.")
    ] = None,
    deployment: Annotated[str, typer.Option(help="Name; blue if not given.")] = "",
    traffic: Annotated[int, typer.Option(help="Per cent of the traffic.")] = 100,
    in_process: Annotated[bool, typer.Option(help="Run inside the gateway.")] = False,
    decimals: Annotated[int | None, typer.Option(help="Round scores.")] = None,
    regression: Annotated[bool, typer.Option(help="The model tells values, not classes.")] = False,
    labels_only: Annotated[bool, typer.Option(help="Tell the likeliest class alone.")] = False,
    top_k: Annotated[int, typer.Option(help="Tell so many classes; 0: all.")] = 0,
    clip: Annotated[str, typer.Option(help="Bounds of what is told: LOW,HIGH.")] = "",
    temperature: Annotated[float, typer.Option(help="Above 1: softer probabilities.")] = 1.0,
    noise: Annotated[
        float, typer.Option(help="Deviation of noise, the same for the same input.")
    ] = 0.0,
    watch_data: Annotated[
        str, typer.Option(help="Training table, DATA:VERSION: watch callers for extraction.")
    ] = "",
    watch_label: Annotated[str, typer.Option(help="Its label column.")] = "",
    watch_feature: Annotated[
        list[str] | None,
        typer.Option(help="The model's columns in order; all numeric ones if not given."),
    ] = None,
    on_extraction: Annotated[
        str, typer.Option(help="Then: alert, throttle, label-only or stop.")
    ] = "alert",
    on_evasion: Annotated[
        str, typer.Option(help="On records made to mislead: alert, abstain or stop.")
    ] = "",
    canary: Annotated[
        str, typer.Option(help="Table of planted records, DATA:VERSION: who asks is logged.")
    ] = "",
    dry_run: DryRun = False,
) -> None:
    """Deploy a model version. Example: vallum endpoint deploy risk risk:1 --dry-run."""
    if file is not None:
        asked = read_deployment(file)
        name, model = name or asked.endpoint, model or asked.model
        deployment = deployment or asked.name
    if not name or not model:
        raise InputError("name the endpoint and the model, or a --file that does",
                         code="cli.usage")  # fmt: skip
    watch = None
    if watch_data:
        watch = QueryWatch(
            data=watch_data, label_column=watch_label, features=tuple(watch_feature or ()),
            response=on_extraction, on_evasion=on_evasion, canaries=canary,
        )  # fmt: skip
    elif watch_label or watch_feature or on_extraction != "alert" or on_evasion or canary:
        raise InputError("callers are only watched with training data", code="cli.usage",
                         hint="name its version: --watch-data NAME:VERSION")  # fmt: skip
    output = OutputPolicy(
        task="regression" if regression else "classification", labels_only=labels_only,
        top_k=top_k, clip=_bounds(clip), temperature=f"{temperature:g}", noise=f"{noise:g}",
    )  # fmt: skip
    with SESSION.client() as client:
        shown = client.endpoints.deploy(
            name, model, deployment=deployment or "blue", traffic=traffic, in_process=in_process,
            decimals=decimals, watch=watch, output=None if output == OutputPolicy() else output,
            dry_run=dry_run,
        )  # fmt: skip
    show("endpoint.deploy", shown, _endpoint(shown))


@endpoint.command("traffic")
def endpoint_traffic(
    name: Name,
    shares: Annotated[list[str], typer.Argument(help="DEPLOYMENT=PER_CENT each.")],
    mirror: Annotated[
        str, typer.Option(help="DEPLOYMENT=PER_CENT that gets copies; its answers are dropped.")
    ] = "",
    dry_run: DryRun = False,
) -> None:
    """Share the traffic, or go back. Example: vallum endpoint traffic risk blue=90 green=10."""
    with SESSION.client() as client:
        shown = client.endpoints.traffic(
            name, _shares(shares), mirror=_shares([mirror]) if mirror else None, dry_run=dry_run
        )
    show("endpoint.traffic", shown, _endpoint(shown))


def _shares(texts: list[str]) -> dict[str, int]:
    """Parse what each deployment gets.

    Raises:
        InputError: A text is not DEPLOYMENT=PER_CENT, or names one twice.
    """
    found: dict[str, int] = {}
    for one in texts:
        deployment, equals, text = one.partition("=")
        if not equals or not deployment or not text.isdecimal() or deployment in found:
            raise InputError(
                f"`{one[:80]}` is not DEPLOYMENT=PER_CENT",
                code="cli.usage",
                hint="blue=90 green=10",
            )
        found[deployment] = int(text)
    return found


@endpoint.command("invoke")
def endpoint_invoke(
    name: Name,
    request: Annotated[Path | None, typer.Argument(help="V2 request as JSON; - for stdin.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the scoring key.")] = None,
    data: Annotated[
        str, typer.Option("--input", help="DATA or DATA:VERSION to score as a batch instead.")
    ] = "",
    into: Annotated[str, typer.Option(help="Data asset that takes the scores of --input.")] = "",
    deployment: Annotated[
        str, typer.Option(help="Which is to answer: a right of its own. Else by the traffic.")
    ] = "",
    feature: Annotated[
        list[str] | None, typer.Option(help="Of --input: a column of the model, in order.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Of --input: a column to repeat beside the scores.")
    ] = None,
    mini_batch: Annotated[int, typer.Option(help="Of --input: rows at once.")] = 4096,
    max_failed: Annotated[int, typer.Option(help="Of --input: rows that may fail.")] = 0,
    dry_run: DryRun = False,
    output: Output = None,
) -> None:
    """Score rows; or a whole table, with --input and --into.

    Example: vallum endpoint invoke risk request.json --key-file risk.key.
    """
    if (request is None) == (not data) or bool(data) != bool(into):
        raise InputError(
            "give a request, or --input and --into", code="cli.usage",
            hint="vallum endpoint invoke NAME --input DATA --into DATA",
        )  # fmt: skip
    if request is not None and dry_run:
        raise InputError("scoring a request changes nothing: --dry-run is of --input",
                         code="cli.usage")  # fmt: skip
    if request is None:
        with SESSION.client() as client, progress(f"scoring {data}"):
            done = client.endpoints.batch(
                name, data, into, deployment=deployment, features=feature or (), keep=keep or (),
                mini_batch=mini_batch, max_failed=max_failed, dry_run=dry_run,
            )  # fmt: skip
        text = f"{done.rows} rows of {data} scored by {done.deployment} into {done.name}"
        failed = f", {done.failed} failed: see their column `error`" if done.failed else ""
        show("endpoint.invoke", done, f"{text}:{done.version}{failed}")
        return
    body = sys.stdin.buffer.read() if str(request) == "-" else read_file(request)
    check_output(output)
    key = None if key_file is None else read_key_file(key_file)
    with SESSION.client() as client:
        answer = client.endpoints.invoke(name, body, key=key, deployment=deployment)
    if output is not None and str(output) != "-":
        write_out(msgspec.json.format(msgspec.json.encode(answer)) + b"\n", output)
        show("endpoint.invoke", {"file": str(output)}, f"the answer is in {output}")
    else:
        show("endpoint.invoke", answer, msgspec.json.format(msgspec.json.encode(answer)).decode())


@endpoint.command("keys")
def endpoint_keys(
    name: Name,
    kind: Annotated[str, typer.Option(help="primary or secondary.")] = "primary",
    expires_at: Annotated[str, typer.Option(help="RFC 3339 time.")] = "",
    output: Output = None,
    dry_run: DryRun = False,
) -> None:
    """Make a scoring key; the old one ends. Example: vallum endpoint keys risk -o risk.key."""
    check_output(output)
    with SESSION.client() as client:
        shown = client.endpoints.keys(name, kind=kind, expires_at=expires_at, dry_run=dry_run)
    secret_out("endpoint.keys", shown, output, dry_run=dry_run)


@endpoint.command("token")
def endpoint_token(
    name: Name,
    minutes: Annotated[int, typer.Option(help="Until it ends, at most 1440.")] = 60,
    output: Output = None,
    dry_run: DryRun = False,
) -> None:
    """Get a scoring token that ends soon. Example: vallum endpoint token risk -o risk.token."""
    check_output(output)
    with SESSION.client() as client:
        shown = client.endpoints.token(name, minutes=minutes, dry_run=dry_run)
    secret_out("endpoint.token", shown, output, dry_run=dry_run)


@endpoint.command("delete")
def endpoint_delete(name: Name, dry_run: DryRun = False) -> None:
    """Stop and delete. Example: vallum endpoint delete risk."""
    with SESSION.client() as client:
        done = client.endpoints.delete(name, dry_run=dry_run)
    show("endpoint.delete", done, done.text)


def secret_out(
    command: str, shown: api.Shown, output: Path | None, *, dry_run: bool = False
) -> None:
    """Hand out a secret once: to a 0600 file, or to stdout with a word of warning.

    A dry run made no secret: nothing is printed or written.
    """
    if dry_run:
        show(command, {"name": shown.name}, f"would make {shown.name}")
        return
    if output is not None and str(output) != "-":
        write_out(shown.secret.encode() + b"\n", output, secret=True)
        show(command, {"id": shown.id, "name": shown.name, "file": str(output)},
             f"{shown.id} is in {output}")  # fmt: skip
        return
    say("this secret is shown once; keep it in a file that only you can read")
    show(command, shown, shown.secret)


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


def _bounds(given: str) -> tuple[str, str] | None:
    """Return the bounds of `LOW,HIGH`; None of nothing."""
    if not given:
        return None
    try:
        low, high = (float(one) for one in given.split(","))
    except ValueError as error:
        raise InputError(
            f"`{given[:40]}` is not LOW,HIGH", code="cli.usage", hint="--clip 0.05,0.95"
        ) from error
    return str(low), str(high)


def _pairs(given: list[str] | None) -> dict[str, str]:
    out = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"`{text[:60]}` is not NAME=VALUE", code="cli.pair")
        out[name] = value
    return out
