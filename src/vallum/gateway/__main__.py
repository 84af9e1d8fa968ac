"""`python -m vallum.gateway`: started by the control process, never by hand."""

import argparse
import ssl
from pathlib import Path

import uvicorn

from vallum.base.tls import DoorTls
from vallum.gateway.app import Gateway
from vallum.gateway.protocol import Connection
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
    arguments = parser.parse_args()
    token = read_token(arguments.token_fd)
    gateway = Gateway(
        AsyncDesk(arguments.socket, token),
        hosts=frozenset(one.lower().encode() for one in arguments.host_header),
        spool=arguments.spool,
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


if __name__ == "__main__":
    main()
