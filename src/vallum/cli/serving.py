"""`vallum endpoint …`."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vallum.base import InputError, VallumError
from vallum.cli.azure import read_deployment, read_endpoint
from vallum.cli.border import (
    SESSION,
    check_output,
    hint,
    read_file,
    say,
    show,
    table,
    write_out,
)
from vallum.cli.capture import captured_text, kept_for
from vallum.cli.code import freeze
from vallum.cli.information import Information, information_text, read_information
from vallum.cli.limits import Quotas, Rates, limits_text, read_quotas, read_rates
from vallum.cli.options import DryRun, Output
from vallum.cli.pairs import bounds_of, shares_of
from vallum.cli.progress import progress
from vallum.cli.scaling import (
    Concurrency,
    CoolDown,
    Engine,
    Instances,
    QueueWait,
    RequestTimeout,
    TargetUtilization,
    scale_of,
    scale_text,
)
from vallum.cli.smoke import gates_line, gates_of, newest, smoke, started
from vallum.schema import DeploymentState, OutputPolicy, QueryWatch, api
from vallum.schema.code import UNFROZEN
from vallum.sdk import read_key_file

endpoint = typer.Typer(
    name="endpoint",
    help="Endpoints: create, deploy, share traffic, invoke, keys, top.",
    no_args_is_help=True,
)
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
        if deployed.replaces:
            share = copies = 0
        waits = deployed.state is DeploymentState.STARTING
        lines.append(
            f"  {deployed.name:<10} {deployed.state.value:<8} {share:>3} %"
            f"{f' and copies of {copies} %' if copies else ''}"
            f"{f', {deployed.share} % once it runs' if waits else ''}"
            f"{scale_text(deployed.scale)}  {deployed.model_digest} {deployed.reason}".rstrip()
        )
        if deployed.capture is not None:
            lines.append(f"             {captured_text(deployed.capture)}")
        if deployed.code_id:
            lines.append(f"             runs code {deployed.code_digest}")
        if deployed.egress:
            lines.append(f"             deployed with a way out to {', '.join(deployed.egress)}")
    if one.networks:
        lines.append(f"open to {', '.join(one.networks)}")
    lines += limits_text(one.rates, one.quotas)
    if one.information is not None:
        lines.append(information_text(one.information))
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
    information: Information = "",
    rate: Rates = None,
    quota: Quotas = None,
    dry_run: DryRun = False,
) -> None:
    """Create an endpoint. Example: vallum endpoint create risk --quota 10000/1d,per=key."""
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
        networks, information = networks or asked.networks, information or asked.information
        rate, quota = rate or asked.rates, quota or asked.quotas
    if not name:
        raise InputError("name the endpoint, or a --file that does", code="cli.usage")
    with SESSION.client() as client:
        shown = client.endpoints.create(
            name, stage=stage, rate_per_s=rate_per_s, burst=burst, description=description,
            networks=networks, information=read_information(information),
            rates=read_rates(rate) or (), quotas=read_quotas(quota) or (), dry_run=dry_run,
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
    information: Information = "",
    rate: Rates = None,
    quota: Quotas = None,
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
        information = information or asked.information
        rate, quota = rate or asked.rates, quota or asked.quotas
    if not name:
        raise InputError("name the endpoint, or a --file that does", code="cli.usage")
    budget, rates, quotas = read_information(information), read_rates(rate), read_quotas(quota)
    changed = (rate_per_s, burst, max_rows, description, networks, budget, rates, quotas)
    shown = None
    with SESSION.client() as client:
        if asked is not None and (asked.traffic or asked.mirror):
            shown = client.endpoints.traffic(
                name, asked.traffic, mirror=asked.mirror, dry_run=dry_run
            )
        if shown is None or any(one is not None for one in changed):
            shown = client.endpoints.update(
                name, rate_per_s=rate_per_s, burst=burst, max_rows=max_rows,
                description=description, networks=networks, information=budget, rates=rates,
                quotas=quotas, dry_run=dry_run,
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
    instances: Instances = "1",
    target_utilization: TargetUtilization = 70,
    concurrency: Concurrency = 1,
    cool_down: CoolDown = 60,
    engine: Engine = "local",
    queue_wait: QueueWait = 5.0,
    request_timeout: RequestTimeout = None,
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
    capture_days: Annotated[
        int | None, typer.Option(help="Of a file's data_collector: days until it is destroyed; 7.")
    ] = None,
    smoke_request: Annotated[
        Path | None,
        typer.Option(help="Request that it is to answer in the end; a row of zeros if not given."),
    ] = None,
    no_wait: Annotated[bool, typer.Option(help="Do not wait for it and its first answer.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Deploy a model version. Example: vallum endpoint deploy risk risk:1 --dry-run."""
    capture = code = made = None
    entry = frozen = ""
    sent = None if smoke_request is None else read_file(smoke_request)
    scale = scale_of(
        instances, target_utilization=target_utilization, concurrency=concurrency,
        cool_down=cool_down, engine=engine, queue_wait=queue_wait, request_timeout=request_timeout,
    )  # fmt: skip
    if file is not None:
        asked = read_deployment(file)
        scale = scale or asked.scale
        name, model = name or asked.endpoint, model or asked.model
        deployment = deployment or asked.name
        capture, code, entry = asked.capture, asked.code, asked.entry
    if capture_days is not None:
        capture = kept_for(capture, capture_days)
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
        top_k=top_k, clip=bounds_of(clip), temperature=f"{temperature:g}", noise=f"{noise:g}",
    )  # fmt: skip
    with SESSION.client() as client:
        if code is not None:
            made = freeze(client, name, code, entry, dry_run=dry_run)
            frozen = UNFROZEN if dry_run else made.id
        shown = client.endpoints.deploy(
            name, model, deployment=deployment or "blue", traffic=traffic, in_process=in_process,
            decimals=decimals, watch=watch, output=None if output == OutputPolicy() else output,
            capture=capture, code=frozen, scale=scale, dry_run=dry_run,
        )  # fmt: skip
        deployed = newest(shown, deployment or "blue")
        gates = gates_of(client, deployed, made)
        if dry_run:
            told = {**msgspec.to_builtins(shown), "gates": gates}
            show("endpoint.deploy", told, f"{_endpoint(shown)}\n{gates_line(gates)}")
            return
        if no_wait:
            show("endpoint.deploy", shown, _endpoint(shown))
            return
        shown = started(client, shown, deployed)
        found = smoke(client, shown, deployed, sent)
    told = {**msgspec.to_builtins(shown), "smoke": found.outcome, "gates": gates}
    lines = f"{_endpoint(shown)}\n{gates_line(gates)}\n  smoke request: {found.text}"
    show("endpoint.deploy", told, lines)
    if found.outcome == "failed":
        hint(f"mend it and deploy again, or: vallum endpoint traffic {name} OTHER=100")
        raise typer.Exit(1)


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
            name, shares_of(shares), mirror=shares_of([mirror]) if mirror else None, dry_run=dry_run
        )
    show("endpoint.traffic", shown, _endpoint(shown))


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
    output_action: Annotated[
        str,
        typer.Option(help="Of --input: append_row, or summary_only: what the scores come to."),
    ] = "append_row",
    resume: Annotated[
        bool, typer.Option("--resume", help="Of --input: go on where a crash ended this batch.")
    ] = False,
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
    if request is not None and resume:
        raise InputError("a request is answered at once: --resume is of --input",
                         code="cli.usage")  # fmt: skip
    if request is None and output is not None:
        raise InputError(
            "the scores of --input go into --into, not to a file", code="cli.usage",
            hint="vallum data download NAME -o FILE, afterwards",
        )  # fmt: skip
    if request is None:
        with SESSION.client() as client, progress(f"scoring {data}"):
            done = client.endpoints.batch(
                name, data, into, deployment=deployment, features=feature or (), keep=keep or (),
                mini_batch=mini_batch, max_failed=max_failed, resume=resume,
                output_action=output_action,
                dry_run=dry_run,
            )  # fmt: skip
        what = "summed up" if done.output_action == "summary_only" else "scored"
        text = f"{done.rows} rows of {data} {what} by {done.deployment} into {done.name}"
        failed = f", {done.failed} failed: see their column `error`" if done.failed else ""
        went_on = f", {done.resumed} of them before the crash" if done.resumed else ""
        show("endpoint.invoke", done, f"{text}:{done.version}{failed}{went_on}")
        return
    body = sys.stdin.buffer.read() if str(request) == "-" else read_file(request)
    check_output(output)
    key = None if key_file is None else read_key_file(key_file)
    with SESSION.client() as client:
        try:
            answer = client.endpoints.invoke(name, body, key=key, deployment=deployment)
        except VallumError as error:
            if error.request_id:  # the gateway's log names it: what failed is not told to callers
                say(f"request {error.request_id} was not answered")
            raise
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
