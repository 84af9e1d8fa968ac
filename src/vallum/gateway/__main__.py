"""`python -m vallum.gateway`: started by the control process, never by hand."""

import argparse
import gc
import socket
import ssl
from pathlib import Path

import uvicorn

from vallum.base import InputError, Secret
from vallum.base.proxies import Proxies
from vallum.base.tls import DoorTls
from vallum.gateway.accepting import Server
from vallum.gateway.app import Gateway
from vallum.gateway.crowd import Crowd, room
from vallum.gateway.protocol import Connection
from vallum.gateway.tracing import Tracer
from vallum.workspace.desk import AsyncDesk, Desk, read_token
from vallum.workspace.engines.ray_room import RayPlace

_COLLECT_S = 300
_OFTEN, _NEVER = 100, 1 << 30


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", required=True)
    parser.add_argument("--cert", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--host-header", action="append", required=True)
    parser.add_argument("--grpc", default="", help="host:port")
    parser.add_argument("--grpc-client-certificates", action="store_true")
    parser.add_argument("--trusted-proxy", action="append", default=[])
    parser.add_argument("--otlp", default="")
    parser.add_argument("--otlp-ratio", type=float, default=0.0)
    parser.add_argument("--otlp-ca", type=Path)
    parser.add_argument("--otlp-token-file", type=Path)
    parser.add_argument("--ray-replicas", action="store_true")
    parser.add_argument("--ray-address", default="", help="host:port")
    parser.add_argument("--ray-token-file", type=Path)
    arguments = parser.parse_args()
    token = read_token(arguments.token_fd)
    gateway = Gateway(
        AsyncDesk(arguments.socket, token),
        Desk(arguments.socket, token),
        hosts=frozenset(one.lower().encode() for one in arguments.host_header),
        spool=arguments.spool,
        tracer=_tracer(arguments),
        proxies=Proxies(arguments.trusted_proxy) if arguments.trusted_proxy else None,
        ray=RayPlace(arguments.ray_address, arguments.ray_token_file)
        if arguments.ray_replicas
        else None,
    )
    gateway.crowd = Crowd(room(rpc=bool(arguments.grpc)))
    sockets = [socket.socket(fileno=one) for one in arguments.listen_fd]
    secured = arguments.cert is not None  # a Unix socket is not
    if not secured and any(one.family != socket.AF_UNIX for one in sockets):
        raise InputError("without a certificate only a Unix socket is served", code="up.tls")
    config = uvicorn.Config(
        gateway,
        ssl_certfile=str(arguments.cert) if secured else None,
        ssl_keyfile=str(arguments.key) if secured else None,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        loop="uvloop",
        http=Connection,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
        callback_notify=_collect,
        timeout_notify=_COLLECT_S,
    )
    config.load()
    if config.ssl is not None:
        gateway.tls = DoorTls(config.ssl, certificate=arguments.cert, key=arguments.key)
    if arguments.grpc:
        from vallum.gateway.rpc import RpcDoor, RpcTls  # an extra

        gateway.rpc = RpcDoor(
            gateway,
            address=arguments.grpc,
            host=arguments.host_header[0].lower().encode(),
            tls=RpcTls(arguments.cert, arguments.key, mutual=arguments.grpc_client_certificates),
        )
    # A collection of everything takes 40 ms and more while thousands of connections are open, in
    # which nobody is answered: not every other second, as Python would, and not of the modules.
    gc.freeze()
    gc.set_threshold(gc.get_threshold()[0], _NEVER, _NEVER)
    Server(config).run(sockets=sockets)


async def _collect() -> None:
    """Collect the oldest garbage where Python would have."""
    if gc.get_count()[1] > _OFTEN:
        gc.collect()


def _tracer(arguments: argparse.Namespace) -> Tracer | None:
    if not arguments.otlp:
        return None
    token_file = arguments.otlp_token_file
    return Tracer(
        arguments.otlp,
        ratio=arguments.otlp_ratio,
        ca_file=arguments.otlp_ca,
        token=None if token_file is None else Secret(token_file.read_bytes().strip()),
    )


if __name__ == "__main__":
    main()
