"""The command tree, and the one border where errors become exit codes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vallum.base import VallumError
from vallum.cli import (
    access,
    anonymize,
    assets,
    attack,
    capture,
    convert,
    dp,
    environments,
    jobs,
    log,
    migrate,
    offline,
    people,
    poison,
    quarantine,
    release_keys,
    rules,
    scan,
    serving,
    signature,
    top,
)
from vallum.cli.border import SESSION, report, say
from vallum.cli.progress import DISPLAY
from vallum.cli.usage import Nouns, arrange, usage_error

app = typer.Typer(
    name="vallum",
    cls=Nouns,
    help="A security layer for machine learning that you host yourself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
top.register(serving.endpoint)
capture.register(serving.endpoint)
for noun in (
    quarantine.data, assets.model, environments.environment, dp.dp, serving.endpoint, jobs.job,
    access.role, access.connection, people.group, people.identity, people.key, people.approval,
    rules.policy, rules.waiver, release_keys.release_key, rules.break_glass, log.audit,
    log.workspace, migrate.importing, signature.signature,
):  # fmt: skip
    app.add_typer(noun, cls=Nouns)
scan.register(app)
convert.register(assets.model)
offline.register(app)
anonymize.register(app)
poison.register(app)
attack.register(app)
log.register(app)


def _version(asked: bool) -> None:
    if asked:
        offline.version()
        raise typer.Exit


@app.callback()
def options(
    url: Annotated[str, typer.Option(help="Address of the server.", envvar="VALLUM_URL")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="File with your key.", envvar="VALLUM_TOKEN_FILE")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Certificate authority of the server.", envvar="VALLUM_CA")
    ] = None,
    purpose: Annotated[
        str,
        typer.Option(help="What data is read for, where it asks.", envvar="VALLUM_PURPOSE"),
    ] = "",
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - its callback has done all
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Set what every command shares. Example: vallum --json data list."""
    SESSION.url = url
    SESSION.token_file = token_file
    SESSION.ca_file = ca
    SESSION.purpose = purpose
    SESSION.as_json = DISPLAY.quiet = json_output
    SESSION.dry_run = False


@app.command("up")
def up_command(
    data: Annotated[Path, typer.Option(help="Data folder.")] = Path("vallum-data"),
    host: Annotated[
        str, typer.Option(help="Address, or network interface such as wg0, to bind.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API.")] = 8443,
    gateway_host: Annotated[
        str, typer.Option(help="The same of scoring, where it differs from --host.")
    ] = "",
    gateway_port: Annotated[int, typer.Option(help="Port of scoring.")] = 8444,
    gateway_socket: Annotated[
        Path | None, typer.Option(help="Score through this Unix socket (0600), not a port.")
    ] = None,
    gateway_group: Annotated[
        str, typer.Option(help="Group that may open the socket, too (0660).")
    ] = "",
    grpc_port: Annotated[
        int, typer.Option(help="Port of scoring over gRPC, too; 0 serves none.")
    ] = 0,
    grpc_client_certificates: Annotated[
        bool, typer.Option(help="Let only clients with a certificate through to gRPC.")
    ] = False,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Network, or `unix`, whose X-Forwarded-For scoring believes."),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Further name for the certificate.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of the keys.")
    ] = None,
    database_file: Annotated[
        Path | None,
        typer.Option(help="0600 file with PostgreSQL's address; first start only."),
    ] = None,
    objects: Annotated[
        str, typer.Option(help="Where objects are kept: s3://bucket/folder; first start only.")
    ] = "",
    checkpoint_sink: Annotated[
        list[str] | None,
        typer.Option(help="Send signed checkpoints there: file:///folder or https://…"),
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(help="Seconds between them.")] = 60.0,
    checkpoint_ca: Annotated[
        Path | None, typer.Option(help="Certificate authority of the sink.")
    ] = None,
    checkpoint_token_file: Annotated[
        Path | None, typer.Option(help="0600 file with the sink's bearer token.")
    ] = None,
    release_key: Annotated[
        str,
        typer.Option(
            help="Sign models with this from now on: pkcs11:token=NAME;object=LABEL, or derived."
        ),
    ] = "",
    pkcs11_module: Annotated[
        Path | None, typer.Option(help="The token's library, such as libsofthsm2.so.")
    ] = None,
    pin_file: Annotated[
        Path | None, typer.Option(help="0600 file with the token's PIN; else VALLUM_TOKEN_PIN.")
    ] = None,
    batch_engine: Annotated[
        str, typer.Option(help="What scores batches: local or ray; see VALLUM_RAY_ADDRESS.")
    ] = "local",
    ray_replicas: Annotated[
        bool, typer.Option(help="Let deployments ask for replicas on Ray; see VALLUM_RAY_ADDRESS.")
    ] = False,
    otlp: Annotated[
        str, typer.Option(help="Send traces to this OpenTelemetry collector: https://…:4318")
    ] = "",
    otlp_ratio: Annotated[
        float, typer.Option(help="Share of requests without `traceparent` to trace.")
    ] = 0.01,
    otlp_ca: Annotated[
        Path | None, typer.Option(help="Certificate authority of the collector.")
    ] = None,
    otlp_token_file: Annotated[
        Path | None, typer.Option(help="0600 file with the collector's bearer token.")
    ] = None,
) -> None:
    """Serve a workspace; the first start makes one. Example: vallum up --data ./vallum-data."""
    from vallum.cli.up import up

    raise typer.Exit(
        up(
            data=data,
            host=host,
            port=port,
            gateway_host=gateway_host,
            gateway_port=gateway_port,
            gateway_socket=gateway_socket,
            gateway_group=gateway_group,
            grpc_port=grpc_port,
            grpc_client_certificates=grpc_client_certificates,
            trusted_proxies=tuple(trusted_proxy or ()),
            names=tuple(name or ()),
            passphrase_file=passphrase_file,
            database_file=database_file,
            objects=objects,
            checkpoint_sinks=tuple(checkpoint_sink or ()),
            checkpoint_every_s=checkpoint_every,
            checkpoint_ca=checkpoint_ca,
            checkpoint_token_file=checkpoint_token_file,
            release_key=release_key,
            pkcs11_module=pkcs11_module,
            pin_file=pin_file,
            batch_engine=batch_engine,
            ray_replicas=ray_replicas,
            otlp=otlp,
            otlp_ratio=otlp_ratio,
            otlp_ca=otlp_ca,
            otlp_token_file=otlp_token_file,
            json_output=SESSION.as_json,
        )
    )


@app.command("demo")
def demo_command(
    keep: Annotated[Path | None, typer.Option(help="Keep the workspace in this folder.")] = None,
    serve: Annotated[bool, typer.Option(help="Stay up afterwards.")] = False,
) -> None:
    """Run the whole main job on real data. Example: vallum demo --keep ./demo --serve."""
    from vallum.cli.demo import demo

    raise typer.Exit(demo(keep=keep, json_output=SESSION.as_json, serve=serve))


arrange(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; the one border where errors become exit codes."""
    # `--json` may stand anywhere: it means the same before and after the command.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    SESSION.as_json = "--json" in arguments[:end]  # known before the rest is understood
    given = [one for one in arguments[:end] if one != "--json"]
    given = [*(["--json"] if SESSION.as_json else []), *given, *arguments[end:]]
    try:
        done = app(args=given, prog_name="vallum", standalone_mode=False)
        return done if isinstance(done, int) else 0
    except typer.TyperException as error:
        return report(usage_error(error))
    except VallumError as error:
        return report(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit:  # typer's answer to a pipe that nobody reads any more: that is no failure
        return 0
    except Exception:
        if os.environ.get("VALLUM_DEBUG") == "1":
            raise
        say("internal error; set VALLUM_DEBUG=1 to see it")
        return 4


def main() -> None:
    """Run what the command line says."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)
