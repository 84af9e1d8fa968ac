"""A running `vallum up` and a deployed model, for tests that cross the border."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vallum.base import Secret, UnavailableError
from vallum.sdk import Client, connect

WIDTH = 4
START_S = 60.0  # benchmarks on a busy machine wait longer, and test longer
BUDGET_S = 30


@dataclass
class Up:
    """A running server with its gateway and worker."""

    folder: Path
    port: int
    gateway_port: int
    process: "subprocess.Popen[bytes]"
    owner: Client
    clients: list[Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> Path:
        return self.folder / "data.keys/ca.pem"

    @property
    def token(self) -> str:
        return (self.folder / "data.keys/owner.key").read_text().strip()

    def client(self, secret: str) -> Client:
        made = connect(self.url, token=Secret(secret), ca_file=self.ca)
        self.clients.append(made)
        return made

    def http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.ca))
        return httpx.Client(verify=context, trust_env=False, timeout=30.0)

    def gateway_pid(self) -> int:
        """Return the process of its gateway."""
        marks = (b"vallum.gateway", str(self.folder).encode())
        for one in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if all(mark in one.read_bytes() for mark in marks):
                    return int(one.parent.name)
        raise AssertionError("there is no gateway")

    def raw(self, path: str, *, method: str = "GET", token: str | None = "", **more: Any) -> Any:
        """Send a request as nobody's client would."""
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token or self.token}")
        with self.http() as client:
            return client.request(method, self.url + path, headers=headers, **more)

    def score(self, endpoint: str, body: bytes, *, key: str = "", **headers: str) -> Any:
        url = f"https://127.0.0.1:{self.gateway_port}/v2/models/{endpoint}/infer"
        if key:
            headers["Authorization"] = f"Bearer {key}"
        with self.http() as client:
            return client.post(url, content=body, headers=headers)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def running(folder: Path, *, port: int = 0, arguments: tuple[str, ...] = ()) -> Iterator[Up]:
    """Start `vallum up` in `folder` and stop it afterwards."""
    port, gateway_port = port or free_port(), free_port()
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "vallum.cli", "up", "--data", str(folder / "data"),
             "--port", str(port), "--gateway-port", str(gateway_port), *arguments],
            stdout=log, stderr=log, env=dict(os.environ),
        )  # fmt: skip
        up = None
        try:
            up = Up(folder, port, gateway_port, process, _connect(folder, port, process))
            yield up
        finally:
            if up is not None:
                for client in (up.owner, *up.clients):
                    client.close()
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connect(folder: Path, port: int, process: "subprocess.Popen[bytes]") -> Client:
    keys = folder / "data.keys"
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError((folder / "up.log").read_text())
        if (keys / "ca.pem").exists() and (keys / "server.pem").exists():
            client = connect(
                f"https://127.0.0.1:{port}", token_file=keys / "owner.key", ca_file=keys / "ca.pem"
            )
            try:
                client.workspace.show()
            except UnavailableError:
                client.close()
            else:
                return client
        time.sleep(0.05)
    raise AssertionError("the server did not answer: " + (folder / "up.log").read_text())


def small_model(shift: float = 0.0, *, hidden: bool = False) -> bytes:
    """Return an ONNX classifier of `WIDTH` features: two classes by the sign of their sum.

    With `hidden` the features go through a linear layer before, which leaves them as they are.
    """
    weights = np.stack([-np.ones(WIDTH), np.ones(WIDTH)], axis=1).astype(np.float32)
    bias = np.array([shift, -shift], dtype=np.float32)
    before = [helper.make_node("MatMul", ["x", "e"], ["h"])] if hidden else []
    graph = helper.make_graph(
        [
            *before,
            helper.make_node("MatMul", ["h" if hidden else "x", "w"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["s"]),
            helper.make_node("Softmax", ["s"], ["probabilities"], axis=1),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(bias, "b"),
            *([numpy_helper.from_array(np.eye(WIDTH, dtype=np.float32), "e")] if hidden else []),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def table(seed: int, rows: int = 120) -> bytes:
    """Return a CSV of well separated records."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    x = rng.normal(0, 0.5, (rows, WIDTH)) + np.where(y[:, None] == 1, 1.5, -1.5)
    lines = [",".join([*(f"f{at}" for at in range(WIDTH)), "y"])]
    lines += [",".join([*(f"{one:.5f}" for one in row), str(label)])
              for row, label in zip(x, y, strict=True)]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def prepare(up: Up) -> None:
    """Register, test and sign the small model as `small`; make the data it is tested on."""
    up.owner.identities.create("author")
    for role in ("Machine Learning Engineer", "Vallum Endpoint Invoker"):
        up.owner.roles.assign(role, "author")
    author = up.client(up.owner.keys.create("k", principal="author").secret)
    author.data.create("members", table(1), format="csv")
    author.data.create("others", table(2), format="csv")
    author.models.register("small", small_model())
    up.owner.roles.assign("Vallum Data Reader", "author")
    author = up.client(up.owner.keys.create("k2", principal="author").secret)
    author.models.test("small", data="members", holdout="others", label_column="y",
                       budget_s=BUDGET_S, access="scores")  # fmt: skip
    author.models.sign("small")


def deploy(up: Up, endpoint: str, **more: Any) -> str:
    """Deploy `small` behind a fresh endpoint; returns a scoring key once it answers."""
    create = {key: more.pop(key) for key in ("rate_per_s", "burst") if key in more}
    up.owner.endpoints.create(endpoint, **create)
    up.owner.endpoints.deploy(endpoint, "small", **more)
    key = up.owner.endpoints.keys(endpoint).secret
    end = time.monotonic() + START_S / 2
    while up.score(endpoint, request([[1.0] * WIDTH]), key=key).status_code == 503:
        if time.monotonic() > end:
            raise AssertionError((up.folder / "up.log").read_text())
        time.sleep(0.1)
    return key


def request(rows: list[list[float]], **more: Any) -> bytes:
    """Return a V2 request."""
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}
    return json.dumps({"inputs": [{**tensor, **more}]}).encode()
