"""`python -m vallum.worker`: started by the control process, never by hand."""

import argparse
import signal
import threading
from pathlib import Path

from vallum.sandbox import BubblewrapRunner
from vallum.schema import Claim, Claimed, Finish
from vallum.schema.serving import Acknowledged
from vallum.worker.loop import work
from vallum.workspace.desk import Desk, read_token


class InnerDesk:
    """Jobs from the inner socket."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def claim(self) -> Claimed:
        """Return the oldest queued job."""
        return self._desk.call("/job/claim", Claim(worker="worker-1"), Claimed)

    def finish(self, finish: Finish) -> None:
        """Hand back what the sandbox left."""
        self._desk.call("/job/finish", finish, Acknowledged)


def main() -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--token-fd", type=int, required=True)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    desk = Desk(arguments.socket, read_token(arguments.token_fd))
    work(InnerDesk(desk), BubblewrapRunner.open, stop)
    desk.close()


if __name__ == "__main__":
    main()
