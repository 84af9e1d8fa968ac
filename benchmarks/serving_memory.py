"""What model processes and idle connections cost in memory.

    .venv/bin/python benchmarks/serving_memory.py [models] [tls] [plain] [--connections 10000]

*models*: three processes of one model, as a deployment has them, once they have answered, for a
small model and for one of 64 MiB. `private` is what no other process shares (USS), `share` adds a
fair share of what several map (PSS), `resident` counts that in full (RSS). The bar: 80 MiB plus the
model. *tls*, *plain*: the gateway's growth (RSS) with idle keep-alive connections that were each
answered, over TLS and over its Unix socket, the only listener without TLS; bars 600 and 150 MiB.
The gateway closes what was idle for 60 s, so that each asks again after 25 until all are open.
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import multiprocessing
import resource
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gateway_requests as http
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MIB = 1024 * 1024
AGAIN_S = 25.0
OPENERS = 2
SIDE, LAYERS = 2048, 4


def large() -> bytes:
    """Return a model of 64 MiB."""
    rng = np.random.default_rng(1)
    sides = [http.WIDTH, *[SIDE] * (LAYERS + 1), 2]
    names = ["x", *(f"h{at}" for at in range(LAYERS + 1)), "logits"]
    weights = [
        numpy_helper.from_array(
            (rng.normal(size=shape) / shape[0] ** 0.5).astype(np.float32), f"w{at}"
        )
        for at, shape in enumerate(itertools.pairwise(sides))
    ]
    nodes = [helper.make_node("MatMul", [names[at], f"w{at}"], [names[at + 1]])
             for at in range(len(weights))]  # fmt: skip
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes, "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, http.WIDTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])], weights,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def held(pid: int) -> dict[str, float]:
    """Return what a process has, in MiB, and the most that it ever had."""
    kib = {"private": 0, "share": 0, "resident": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        if name in {"Private_Clean:", "Private_Dirty:"}:
            kib["private"] += int(value)
        elif name in {"Pss:", "Rss:"}:
            kib["share" if name == "Pss:" else "resident"] += int(value)
    status = Path(f"/proc/{pid}/status").read_text()
    kib["most"] = int(status.split("VmHWM:")[1].split()[0])
    return {name: value / 1024 for name, value in kib.items()}


async def models() -> None:
    """Run model processes as the gateway does, and print what each has."""
    from vallum.gateway import isolated
    from vallum.gateway.model import Held
    from vallum.sandbox import BubblewrapRunner

    isolated.START_S = http.START_S  # on a busy machine
    x = http.numbers(32).astype(np.float32)
    print("| model | MiB of it | process | private MiB | share MiB | resident MiB | private beyond"
          " it | most ever resident |\n|---|---:|---:|---:|---:|---:|---:|---:|")  # fmt: skip
    for name, data in (("small", http.model()), ("large", large())):
        taken = Held(data, f"sha256:{hashlib.sha256(data).hexdigest()}")
        running = [isolated.IsolatedModel(taken, BubblewrapRunner.open()) for _ in range(3)]
        for one in running:
            await one.start()
            for _ in range(20):
                await one.predict(x)
        size = len(data) / MIB
        for at, one in enumerate(running):
            has = held(http.children(one.pid or 0, "vallum.gateway.inside")[-1])  # below bwrap
            print(f"| {name} | {size:.1f} | {at + 1} | {has['private']:.0f} |"
                  f" {has['share']:.0f} | {has['resident']:.0f} |"
                  f" {has['private'] - size:.0f} | {has['most']:.0f} |", flush=True)  # fmt: skip
        for one in running:
            await one.close()
        taken.close()


def hold(where: int | str, count: int, ready: Any) -> None:
    """Open connections, have each answered, and keep them."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host = f"127.0.0.1:{where}" if isinstance(where, int) else "localhost"
    request = f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    asked: dict[Any, float] = {}

    async def ask(pair: Any) -> None:
        reader, writer = pair
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        asked[pair] = time.monotonic()

    async def one() -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # too slow: another one
            if isinstance(where, int):
                await ask(await asyncio.open_connection("127.0.0.1", where, ssl=context))
            else:
                await ask(await asyncio.open_unix_connection(where))

    async def again(pair: Any) -> None:
        try:
            await ask(pair)
        except (OSError, asyncio.IncompleteReadError):  # closed as idle: opened again
            del asked[pair]

    async def keep() -> None:
        now = time.monotonic()
        due = [pair for pair, since in asked.items() if now - since > AGAIN_S]
        for at in range(0, len(due), 200):
            await asyncio.gather(*map(again, due[at : at + 200]))
        await asyncio.gather(*(one() for _ in range(min(50, count - len(asked)))))

    async def run() -> None:
        told = False
        while True:  # once all are open, until the other openers are done, too
            await keep()
            if len(asked) == count:
                if not told:
                    ready.put(count)
                told = True
                await asyncio.sleep(1)

    import uvloop

    uvloop.run(run())


def open_sockets(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found


def idle(count: int, *, tls: bool) -> None:
    import running

    running.START_S = http.START_S

    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "score")
        arguments = () if tls else ("--gateway-socket", socket)
        with running.running(Path(folder), arguments=arguments) as up:
            (gateway,) = http.children(up.process.pid, "vallum.gateway")
            time.sleep(3)
            before, sockets = held(gateway)["resident"], open_sockets(gateway)
            queue: Any = multiprocessing.Queue()
            openers = [
                multiprocessing.Process(
                    target=hold, args=(up.gateway_port if tls else socket, count // OPENERS, queue),
                    daemon=True,
                )
                for _ in range(OPENERS)
            ]  # fmt: skip
            begun = time.monotonic()
            for one in openers:
                one.start()
            for _ in openers:
                queue.get(timeout=900)
            took = time.monotonic() - begun
            now, opened = held(gateway)["resident"], open_sockets(gateway) - sockets
            for one in openers:
                one.kill()
                one.join()
            time.sleep(5)
            after, left = held(gateway)["resident"], open_sockets(gateway) - sockets
            print(f"| {'TLS' if tls else 'plain, Unix socket'} | {opened} | {before:.0f} |"
                  f" {now:.0f} | {now - before:.0f} | {600 if tls else 150} | {took:.0f} |"
                  f" {after:.0f} with {left} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["models", "tls", "plain"])
    parser.add_argument("--connections", type=int, default=10_000)
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.path.insert(0, str(http.ROOT / "tests"))
    print(f"{http.machine()}\n")
    if "models" in given.what:
        asyncio.run(models())
        print()
    if {"tls", "plain"} & set(given.what):
        print("| idle connections | open | before MiB | with them | more | bar | s to open |"
              " afterwards MiB |\n|---|---:|---:|---:|---:|---:|---:|---|")  # fmt: skip
        for what in ("tls", "plain"):
            if what in given.what:
                idle(given.connections, tls=what == "tls")


if __name__ == "__main__":
    main()
