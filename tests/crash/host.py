"""Does one write in a workspace, in a process of its own that system calls are failed in.

Reads a line `SCENARIO FOLDER` each, forks, and has the child open the workspace; prints its number
and waits for a byte on the pipe before the child writes. The child's exit code tells how it went:
0 done, 3 refused with an error of ours.
"""

import os
import sys
import traceback
from pathlib import Path

from conftest_workspace import sign_in_owner
from crash_scenarios import SCENARIOS

from vallum.base import VallumError
from vallum.workspace.bootstrap import Places, opened

SAY = os.dup(1)  # the log goes to what stands at 1
os.dup2(2, 1)


def write(scenario: str, folder: Path, go: int) -> int:
    places = Places.below(folder)
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        os.write(SAY, f"{os.getpid()}\n".encode())
        os.read(go, 1)
        try:
            SCENARIOS[scenario][0](place)
        except VallumError:
            return 3
    return 0


def main() -> None:
    for line in sys.stdin:
        scenario, folder, go = line.split()
        pipe = os.open(go, os.O_RDWR)  # a reader alone would find the pipe at its end
        child = os.fork()
        if child == 0:
            code = 4
            try:
                code = write(scenario, Path(folder), pipe)
            except Exception:  # noqa: BLE001 - told, and its code is 4
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(pipe)
        _, status = os.waitpid(child, 0)
        os.write(SAY, f"{os.waitstatus_to_exitcode(status)}\n".encode())


if __name__ == "__main__":
    main()
