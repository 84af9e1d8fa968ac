"""`python -m vallum.gateway`: started by the control process, never by hand."""

import argparse
import ssl
from pathlib import Path

import uvicorn

from vallum.base import Secret
from vallum.base.tls import DoorTls
from vallum.gateway.app import Gateway
from vallum.gateway.protocol import Connection
from vallum.gateway.tracing import Tracer
from vallum.workspace.desk import AsyncDesk, read_token


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cert", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--host-header", action="append", required=True)
    parser.add_argument("--otlp", default="")
    parser.add_argument("--otlp-ratio", type=float, default=0.0)
    parser.add_argument("--otlp-ca", type=Path)
    parser.add_argument("--otlp-token-file", type=Path)
    arguments = parser.parse_args()
    token = read_token(arguments.token_fd)
    gateway = Gateway(
        AsyncDesk(arguments.socket, token),
        hosts=frozenset(one.lower().encode() for one in arguments.host_header),
        spool=arguments.spool,
        tracer=_tracer(arguments),
    )
    config = uvicorn.Config(
        gateway,
        host=arguments.host,
        port=arguments.port,
        ssl_certfile=str(arguments.cert),
        ssl_keyfile=str(arguments.key),
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
    )
    config.load()
    if config.ssl is not None:
        gateway.tls = DoorTls(config.ssl, certificate=arguments.cert, key=arguments.key)
    uvicorn.Server(config).run()


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
