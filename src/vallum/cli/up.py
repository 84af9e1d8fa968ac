"""`vallum up`: make the workspace on the first start, then serve until interrupted."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from vallum.base import InputError, Secret, UnavailableError
from vallum.base.proxies import Proxies
from vallum.sdk import read_key_file

if TYPE_CHECKING:
    from vallum.workspace.engines.ray_room import RayPlace
    from vallum.workspace.house import House
    from vallum.workspace.release_keys import TokenChoice

DAY_S = 86_400.0
DERIVED = "derived"
PIN = "VALLUM_TOKEN_PIN"
RAY_ADDRESS = "VALLUM_RAY_ADDRESS"
RAY_TOKEN_FILE = "VALLUM_RAY_TOKEN_FILE"  # noqa: S105 - a name
FIRST = """\
vallum: a new workspace. Its owner's key is in {owner} (read it once, keep it safe).
vallum: keep {keys} out of every backup of {data}: it holds what opens them.
"""


def up(
    *,
    data: Path,
    host: str = "127.0.0.1",
    port: int = 8443,
    gateway_host: str = "",
    gateway_port: int = 8444,
    gateway_socket: Path | None = None,
    gateway_group: str = "",
    grpc_port: int = 0,
    grpc_client_certificates: bool = False,
    trusted_proxies: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    passphrase_file: Path | None = None,
    database_file: Path | None = None,
    objects: str = "",
    checkpoint_sinks: tuple[str, ...] = (),
    checkpoint_every_s: float = 60.0,
    checkpoint_ca: Path | None = None,
    checkpoint_token_file: Path | None = None,
    release_key: str = "",
    pkcs11_module: Path | None = None,
    pin_file: Path | None = None,
    batch_engine: str = "local",
    ray_replicas: bool = False,
    otlp: str = "",
    otlp_ratio: float = 0.01,
    otlp_ca: Path | None = None,
    otlp_token_file: Path | None = None,
    json_output: bool = False,
) -> int:
    """Serve a workspace: API, gateway and worker, with TLS, on loopback by default.

    Args:
        data: Data folder; made, with a workspace in it, on the first start.
        host: Address or network interface to bind.
        port: Of the API.
        gateway_host: The same of scoring, if it differs.
        gateway_port: Of scoring.
        gateway_socket: Unix socket that scoring is reached through instead of a port.
        gateway_group: Group that may open it.
        grpc_port: Of scoring over gRPC; 0: none.
        grpc_client_certificates: Only clients with a certificate get through to it.
        trusted_proxies: Networks, or `unix`, whose `X-Forwarded-For` is believed.
        names: Further names for the certificate.
        passphrase_file: Holds the passphrase of the keys, if they have one.
        database_file: 0600 file with the address of PostgreSQL; for the first start.
        objects: Where objects are kept, such as `s3://bucket/folder`; for the first start.
        checkpoint_sinks: Where signed checkpoints are sent: `file:///folder`, `https://…`.
        checkpoint_every_s: How often.
        checkpoint_ca: Certificate authority of the sinks.
        checkpoint_token_file: 0600 file with what the sinks want as bearer.
        release_key: What models are signed with from now on: `pkcs11:token=NAME;object=LABEL`, or
            `derived` from the workspace's secret, as at first; empty: what it is.
        pkcs11_module: The token's library.
        pin_file: 0600 file with the token's PIN; else the environment's `VALLUM_TOKEN_PIN`.
        batch_engine: What scores batches: `local`, or `ray` on the cluster at `VALLUM_RAY_ADDRESS`,
            without one on a Ray that each batch starts.
        ray_replicas: Let deployments ask for replicas on the Ray at `VALLUM_RAY_ADDRESS`, without
            one on a Ray that each deployment starts.
        otlp: OpenTelemetry collector that traces are sent to; empty: nothing is traced.
        otlp_ratio: Share of requests without a `traceparent` that are traced.
        otlp_ca: Certificate authority of the collector.
        otlp_token_file: 0600 file with what the collector wants as bearer.
        json_output: Print one JSON object when ready.

    Returns:
        Exit code.
    """
    try:
        from vallum.base.listening import place_of
        from vallum.server.control import Bind, run_control
        from vallum.workspace.bootstrap import (
            Places,
            check_ray,
            choose_engine,
            create,
            exists,
            open_courier,
        )
        from vallum.workspace.engines.ray_room import RayPlace
        from vallum.workspace.release_keys import open_release_key, open_token, remembered_token
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
    if gateway_socket is None and gateway_group:
        raise InputError("a group opens a socket: --gateway-socket", code="up.group")
    Proxies(trusted_proxies)  # refuses what is no network before anything is made
    place = place_of(host)
    gateway_place = place_of(gateway_host) if gateway_host else place
    if grpc_port or grpc_client_certificates:
        _check_grpc(grpc_port, {port, gateway_port}, gateway_socket, gateway_place.device)
    ray = RayPlace(os.environ.get(RAY_ADDRESS, ""), _ray_token())
    if ray_replicas:
        check_ray(ray)
    bind = Bind(
        place=place,
        port=port,
        gateway_place=gateway_place,
        gateway_port=gateway_port,
        gateway_socket=None if gateway_socket is None else gateway_socket.absolute(),
        gateway_group=gateway_group,
        grpc_port=grpc_port,
        grpc_client_certificates=grpc_client_certificates,
        names=names,
        proxies=trusted_proxies,
        telemetry=_telemetry(otlp, otlp_ratio, otlp_ca, otlp_token_file),
        replicas=_replicas(ray) if ray_replicas else (),
    )
    if not 1.0 <= checkpoint_every_s <= DAY_S:
        raise InputError("checkpoints are sent every 1 to 86400 seconds", code="up.checkpoint")
    courier = open_courier(
        checkpoint_sinks,
        every_s=checkpoint_every_s,
        ca_file=checkpoint_ca,
        token=None if checkpoint_token_file is None else read_key_file(checkpoint_token_file),
    )
    token = _token(release_key, pkcs11_module, pin_file)
    places = Places.below(data)
    chosen = token or remembered_token(places.keys)
    pin = None if chosen is None else _pin(pin_file or chosen.pin_file)
    if token is not None:  # before a workspace is made that would sign with another key
        open_token(token, pin)
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

    def prepare(house: "House") -> None:
        open_release_key(house, places.keys, token=token, derived=release_key == DERIVED, pin=pin)
        choose_engine(house, batch_engine, ray)
        house.ray_replicas = ray_replicas

    def ready(claimed: bool) -> None:
        url = f"https://{place.address}:{port}"
        claim = "" if claimed else f"{url}/claim"
        if json_output:
            said = {
                "schema": "vallum.up/1",
                "url": url,
                "scoring": bind.scoring,
                "grpc": f"{gateway_place.address}:{grpc_port}" if grpc_port else "",
                "ca": str(places.keys / "ca.pem"),
                "owner_key": str(places.owner_key),
                "data": str(places.data),
                "first": first,
                "claim": claim,
            }
            sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        else:
            sys.stdout.write(
                f"serving {url} (scoring on {gateway_socket or gateway_port}); Ctrl-C stops\n"
                f"  export VALLUM_URL={url} VALLUM_CA={places.keys}/ca.pem"
                f" VALLUM_TOKEN_FILE={places.owner_key}\n"
            )
            if claim:
                sys.stdout.write(f"  claim it at {claim} with the code in {places.owner_key}\n")
        sys.stdout.flush()

    run_control(places, bind, ready=ready, passphrase=passphrase, courier=courier, prepare=prepare)
    return 0


def _token(uri: str, module: Path | None, pin_file: Path | None) -> "TokenChoice | None":
    """Return which key of which token to sign with from now on; None: as it was.

    Raises:
        InputError: The options do not fit together.
    """
    from vallum.workspace.release_keys import TokenChoice

    if uri in ("", DERIVED):
        if module is not None or (uri and pin_file is not None):
            raise InputError(
                "--pkcs11-module belongs to --release-key pkcs11:…", code="up.release-key"
            )
        return None
    if module is None:
        raise InputError(
            "a key in a token needs the token's library", code="up.release-key",
            hint="--pkcs11-module FILE, such as /usr/lib/softhsm/libsofthsm2.so",
        )  # fmt: skip
    return TokenChoice(uri, module, pin_file)


def _pin(file: Path | None) -> Secret | None:
    if file is not None:
        return read_key_file(file)
    given = os.environ.get(PIN, "").strip()
    return Secret(given.encode()) if given else None


def _check_grpc(port: int, taken: set[int], socket: Path | None, device: str) -> None:
    """Check that gRPC can be served, and no wider than the rest.

    Raises:
        InputError: The port is none or taken, or scoring listens where gRPC cannot.
        UnavailableError: The extra is not installed.
    """
    if not 0 < port < 65536 or port in taken:  # noqa: PLR2004 - TCP
        raise InputError("gRPC needs a port of its own: --grpc-port", code="up.port")
    if socket is not None or device:
        raise InputError(
            "gRPC listens on an address only, not on a socket or an interface",
            code="up.grpc",
            hint="--gateway-host with an address, or leave --grpc-port out",
        )
    try:
        import vallum.gateway.rpc  # noqa: F401 - whether it can be
    except ImportError as error:
        raise UnavailableError(
            f"this installation has no gRPC: `{error.name}` is missing",
            code="up.extra",
            hint="pip install 'vallum[grpc]'",
        ) from error


def _ray_token() -> Path | None:
    """Return the file with the cluster's token; None where there is none.

    Raises:
        InputError: Others may read it, or it cannot be read.
    """
    file = os.environ.get(RAY_TOKEN_FILE, "")
    if not file:
        return None
    read_key_file(Path(file))  # refuses one that others may read
    return Path(file).resolve()


def _replicas(ray: "RayPlace") -> tuple[str, ...]:
    """Return the gateway's arguments for replicas: the token's file is one, the token is not."""
    made = ["--ray-replicas"]
    if ray.address:
        made += ["--ray-address", ray.address]
    if ray.token_file is not None:
        made += ["--ray-token-file", str(ray.token_file)]
    return tuple(made)


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
