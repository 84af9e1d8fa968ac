"""`vallum up`: make the workspace on the first start, then serve until interrupted."""

import sys
from dataclasses import replace
from pathlib import Path

import msgspec

from vallum.base import InputError, Secret, UnavailableError
from vallum.sdk import read_key_file

DAY_S = 86_400.0
FIRST = """\
vallum: a new workspace. Its owner's key is in {owner} (read it once, keep it safe).
vallum: keep {keys} out of every backup of {data}: it holds what opens them.
"""


def up(
    *,
    data: Path,
    host: str = "127.0.0.1",
    port: int = 8443,
    gateway_port: int = 8444,
    names: tuple[str, ...] = (),
    passphrase_file: Path | None = None,
    database_file: Path | None = None,
    objects: str = "",
    checkpoint_sinks: tuple[str, ...] = (),
    checkpoint_every_s: float = 60.0,
    checkpoint_ca: Path | None = None,
    checkpoint_token_file: Path | None = None,
    otlp: str = "",
    otlp_ratio: float = 0.01,
    otlp_ca: Path | None = None,
    otlp_token_file: Path | None = None,
    json_output: bool = False,
) -> int:
    """Serve a workspace: API, gateway and worker, with TLS, on loopback by default.

    Args:
        data: Data folder; made, with a workspace in it, on the first start.
        host: Address to bind.
        port: Of the API.
        gateway_port: Of scoring.
        names: Further names for the certificate.
        passphrase_file: Holds the passphrase of the keys, if they have one.
        database_file: 0600 file with the address of PostgreSQL; for the first start.
        objects: Where objects are kept, such as `s3://bucket/folder`; for the first start.
        checkpoint_sinks: Where signed checkpoints are sent: `file:///folder`, `https://…`.
        checkpoint_every_s: How often.
        checkpoint_ca: Certificate authority of the sinks.
        checkpoint_token_file: 0600 file with what the sinks want as bearer.
        otlp: OpenTelemetry collector that traces are sent to; empty: nothing is traced.
        otlp_ratio: Share of requests without a `traceparent` that are traced.
        otlp_ca: Certificate authority of the collector.
        otlp_token_file: 0600 file with what the collector wants as bearer.
        json_output: Print one JSON object when ready.

    Returns:
        Exit code.
    """
    try:
        from vallum.server.control import Bind, run_control
        from vallum.workspace.bootstrap import Places, create, exists, open_courier
    except ImportError as error:
        raise UnavailableError(
            f"this installation has no server: `{error.name}` is missing",
            code="up.extra",
            hint="pip install 'vallum[server]'",
        ) from error
    for number in (port, gateway_port):
        if not 0 < number < 65536:  # noqa: PLR2004 - TCP
            raise InputError(f"{number} is not a port", code="up.port")
    if port == gateway_port:
        raise InputError("API and gateway need two ports", code="up.port")
    if not 1.0 <= checkpoint_every_s <= DAY_S:
        raise InputError("checkpoints are sent every 1 to 86400 seconds", code="up.checkpoint")
    courier = open_courier(
        checkpoint_sinks,
        every_s=checkpoint_every_s,
        ca_file=checkpoint_ca,
        token=None if checkpoint_token_file is None else read_key_file(checkpoint_token_file),
    )
    telemetry = _telemetry(otlp, otlp_ratio, otlp_ca, otlp_token_file)
    places = Places.below(data)
    passphrase = None
    if passphrase_file is not None:
        passphrase = Secret(read_key_file(passphrase_file).reveal())
    database = "" if database_file is None else str(read_key_file(database_file).reveal(), "utf-8")
    first = not exists(places)
    if not first and (
        database not in {"", places.database_url} or objects not in {"", places.objects_url}
    ):
        raise InputError(
            "this workspace keeps its database or objects elsewhere already",
            code="up.elsewhere",
            hint="leave --database-file and --objects out, or start a new workspace",
        )
    if first:
        places = replace(
            places,
            database_url=database or places.database_url,
            objects_url=objects or places.objects_url,
        )
        create(places, passphrase=passphrase)
        sys.stderr.write(FIRST.format(owner=places.owner_key, keys=places.keys, data=places.data))
    bind = Bind(host=host, port=port, gateway_port=gateway_port, names=names,
                telemetry=telemetry)  # fmt: skip

    def ready(claimed: bool) -> None:
        url = f"https://{host}:{port}"
        claim = "" if claimed else f"{url}/claim"
        if json_output:
            said = {
                "schema": "vallum.up/1",
                "url": url,
                "scoring": f"https://{host}:{gateway_port}",
                "ca": str(places.keys / "ca.pem"),
                "owner_key": str(places.owner_key),
                "data": str(places.data),
                "first": first,
                "claim": claim,
            }
            sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        else:
            sys.stdout.write(
                f"serving {url} (scoring on {gateway_port}); Ctrl-C stops\n"
                f"  export VALLUM_URL={url} VALLUM_CA={places.keys}/ca.pem"
                f" VALLUM_TOKEN_FILE={places.owner_key}\n"
            )
            if claim:
                sys.stdout.write(f"  claim it at {claim} with the code in {places.owner_key}\n")
        sys.stdout.flush()

    run_control(places, bind, ready=ready, passphrase=passphrase, courier=courier)
    return 0


def _telemetry(url: str, ratio: float, ca_file: Path | None, token: Path | None) -> tuple[str, ...]:
    """Return the gateway's arguments for traces, checked: a file's name is one, its secret is not.

    Raises:
        InputError: The address, the share or a file is no good.
    """
    from vallum.gateway.tracing import check_collector, check_ratio

    if not url:
        if ca_file is not None or token is not None:
            raise InputError("traces go nowhere without --otlp", code="up.otlp")
        return ()
    made = ["--otlp", check_collector(url), "--otlp-ratio", str(check_ratio(ratio))]
    if ca_file is not None:
        if not ca_file.is_file():
            raise InputError(f"`{ca_file}` is no file", code="up.otlp")
        made += ["--otlp-ca", str(ca_file.resolve())]
    if token is not None:
        read_key_file(token)  # refuses one that others may read
        made += ["--otlp-token-file", str(token.resolve())]
    return tuple(made)
