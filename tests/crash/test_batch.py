"""`kill -9` of the running server in the middle of a batch: going on gives the same table.

No row comes twice, none is lost, and whoever changes the model in between does not go on.
"""

import contextlib
import io
import itertools
import math
import signal
import threading
import time
import timeit
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from running import Up, running

from vallum.base import ConflictError, NotFoundError, VallumError
from vallum.guard.session import Session

FEWEST = 24_000
GROUP = 500
LONG_S = 10.0
"""The work is saved every 2 s: so long has it to take on this machine, to be killed three times."""


def slow_model(width: int = 1536) -> bytes:
    """Return a model that takes its time: some 5 million multiplications a row."""
    rng = np.random.default_rng(3)
    sizes = (4, width, width, width, 1)
    nodes, weights, held = [], [], "x"
    for at, (one, other) in enumerate(itertools.pairwise(sizes)):
        matrix = (rng.standard_normal((one, other)) / np.sqrt(one)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{at}"))
        nodes.append(helper.make_node("MatMul", [held, f"w{at}"], [f"m{at}"]))
        nodes.append(helper.make_node("Tanh", [f"m{at}"], [f"t{at}"]))
        held = f"t{at}"
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info(held, TensorProto.FLOAT, [None, 1])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def enough() -> int:
    """Return how many rows take long enough."""
    session, x = Session(slow_model()), np.zeros((GROUP, 4), dtype=np.float32)
    took_s = min(timeit.repeat(lambda: session.run(x), number=1, repeat=5))
    return max(FEWEST, GROUP * math.ceil(LONG_S / took_s))


def table(rows: int) -> bytes:
    rng = np.random.default_rng(5)
    held = io.BytesIO()
    frame = pl.DataFrame({"id": np.arange(rows)})
    frame = frame.with_columns(**{name: rng.standard_normal(rows) for name in "abcd"})
    frame.write_parquet(held, row_group_size=GROUP)
    return held.getvalue()


def score(up: Up, into: str, *, resume: bool = False) -> tuple[int, int]:
    made = up.owner.endpoints.batch(
        "e", "rows", into, features=("a", "b", "c", "d"), keep=("id",), mini_batch=GROUP,
        resume=resume,
    )  # fmt: skip
    return made.rows, made.resumed


def text(up: Up, name: str) -> bytes:
    return up.owner.data.download(name)


def saves(up: Up) -> int:
    return len(up.owner.audit.list(step="endpoint.batch-save", limit=1000))


@pytest.mark.slow
def test_killing_the_server_in_a_batch_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    count = enough()
    with running(tmp_path) as up:
        port = up.port
        up.owner.data.create("rows", table(count), format="parquet")
        up.owner.models.register("slow", slow_model())
        up.owner.policy.set({"version": "vallum.policy/1"}, reason="test")
        up.owner.endpoints.create("e")
        up.owner.endpoints.deploy("e", "slow")
        assert score(up, "whole") == (count, 0)
        whole = text(up, "whole")
        assert pl.read_csv(whole)["id"].to_list() == list(range(count))
    kills = 0
    for _ in range(3):
        with running(tmp_path, port=port) as up:
            before = saves(up)
            ended = threading.Event()

            def work(
                up: Up = up, *, resume: bool = kills > 0, ended: threading.Event = ended
            ) -> None:
                with contextlib.suppress(VallumError):  # its connection breaks
                    score(up, "killed", resume=resume)
                ended.set()

            thread = threading.Thread(target=work)
            thread.start()
            # Going on is saved at once: the second time it gets further, the third it does not.
            wanted = before + 1 + (kills == 1)
            while saves(up) < wanted and not ended.is_set():
                time.sleep(0.05)
            assert not ended.is_set(), "the batch ended before it was killed"
            kills += 1
            up.process.send_signal(signal.SIGKILL)
            up.process.wait()
            thread.join()
    with running(tmp_path, port=port) as up:
        assert up.owner.workspace.verify().findings == ()
        with pytest.raises(NotFoundError):
            up.owner.data.show("killed")
        up.owner.models.register("slow", slow_model(8))
        up.owner.endpoints.deploy("e", "slow", deployment="other")
        up.owner.endpoints.wait("e", "other")
        up.owner.endpoints.traffic("e", {"blue": 0, "other": 100})
        with pytest.raises(ConflictError, match="the deployment"):
            score(up, "killed", resume=True)
        up.owner.endpoints.traffic("e", {"blue": 100, "other": 0})
        rows, resumed = score(up, "killed", resume=True)
        assert rows == count
        assert resumed >= GROUP
        assert text(up, "killed") == whole
        assert up.owner.workspace.verify().findings == ()
