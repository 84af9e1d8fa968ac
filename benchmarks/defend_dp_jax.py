"""Private training in JAX beside the same training without privacy, and jax-privacy, on one thread.

jax-privacy needs an interpreter that has it; jax must be the same version there:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install jax==0.10.2 jax-privacy
    VALLUM_JAX_PRIVACY=/tmp/peers/bin/python .venv/bin/python benchmarks/defend_dp_jax.py

Model: the vision transformer of `defend_dp_training.py`, batch 64. A step is forward, backward,
clipping, noise and SGD. Every way runs in a process of its own, and they take turns step by step;
figures are CPU time, without compiling. The throughput is that of the plain step of the same turn
over theirs, the median of all turns. `reach` is the longest that one sample's clipped gradient was
of 64 samples, over the bound: more than 1 is more than was accounted.
Arguments name the precisions to measure; `--quick` takes two turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

TURNS = 7
BATCH = 64
WORKER = r"""
import json, os, sys, time, warnings
warnings.filterwarnings("ignore")
way, precision, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
import jax, jax.numpy as jnp, numpy as np
dtype = {"fp32": jnp.float32, "bf16": jnp.bfloat16}[precision]
D, H = 128, 4
keys = iter(jax.random.split(jax.random.key(0), 64))

def dense(i, o):
    w = (jax.random.normal(next(keys), (i, o)) / i**0.5).astype(dtype)
    return {"w": w, "b": jnp.zeros(o, dtype)}
def scale():
    return {"g": jnp.ones(D, dtype), "b": jnp.zeros(D, dtype)}
def line(p, x):
    return x @ p["w"] + p["b"]
def norm(p, x):
    f = x.astype(jnp.float32)
    f = f - f.mean(-1, keepdims=True)
    f = f * jax.lax.rsqrt((f**2).mean(-1, keepdims=True) + 1e-5)
    return f.astype(dtype) * p["g"] + p["b"]

params = {
    "patch": dense(48, D), "pos": (0.02 * jax.random.normal(next(keys), (64, D))).astype(dtype),
    "norm": scale(), "head": dense(D, 10),
    "blocks": [{"n1": scale(), "qkv": dense(D, 3 * D), "out": dense(D, D), "n2": scale(),
                "m1": dense(D, 4 * D), "m2": dense(4 * D, D)} for _ in range(4)],
}
def scores(p, x):
    z = x.astype(dtype).reshape(8, 4, 8, 4, 3).transpose(0, 2, 1, 3, 4).reshape(64, 48)
    z = line(p["patch"], z) + p["pos"]
    for b in p["blocks"]:
        q, k, v = line(b["qkv"], norm(b["n1"], z)).reshape(64, 3, H, D // H).transpose(1, 2, 0, 3)
        a = jax.nn.softmax((q @ k.transpose(0, 2, 1) * (D // H) ** -0.5).astype(jnp.float32), -1)
        z = z + line(b["out"], (a.astype(dtype) @ v).transpose(1, 0, 2).reshape(64, D))
        z = z + line(b["m2"], jax.nn.gelu(line(b["m1"], norm(b["n2"], z))))
    return line(p["head"], norm(p["norm"], z).mean(0)).astype(jnp.float32)
def loss(p, example):
    found = scores(p, example[0])
    return jax.nn.logsumexp(found) - found[example[1]]

rng = np.random.default_rng(0)
x, y = rng.normal(size=(n, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, n)
RATE, BOUND, NOISE = 0.1, 0.5, 1.0
def length(tree):
    return sum((np.asarray(one, np.float64) ** 2).sum() for one in jax.tree.leaves(tree)) ** 0.5

if way == "plain":
    @jax.jit
    def descend(p):
        slope = jax.grad(lambda p: jax.vmap(loss, (None, 0))(p, (x, y)).mean())(p)
        return jax.tree.map(lambda a, b: a - (RATE * b).astype(a.dtype), p, slope)
    def step():
        global params
        params = jax.block_until_ready(descend(params))
    def reach():
        return None
elif way == "ours":
    import optax
    from vallum.defend import dp
    trainer = dp.make_private_jax(
        loss, params, optax.sgd(RATE), (x, y), epsilon=8, delta=1e-3, batch_size=n, epochs=10_000,
        accountant="rdp", physical_batch=n, max_grad_norm=BOUND)
    def step():
        # One batch holds all records, so that all ways do the same work.
        jax.block_until_ready(trainer.train(steps=1))
    def reach():
        return max(length(trainer.clipped([at])) for at in range(n)) / BOUND
else:
    import jax_privacy, optax
    from jax_privacy import noise_addition
    from jax_privacy.clipping import clipped_grad
    clipped = jax.jit(clipped_grad(loss, l2_clip_norm=BOUND, batch_argnums=1, keep_batch_dim=False,
                                   normalize_by=1.0))
    noise = noise_addition.gaussian_privatizer(stddev=NOISE * BOUND, prng_key=jax.random.key(1))
    state = noise.init(params)
    @jax.jit
    def descend(p, slope, state):
        slope, state = noise.update(slope, state)
        return jax.tree.map(lambda a, b: a - (RATE * b / n).astype(a.dtype), p, slope), state
    def step():
        global params, state
        params, state = jax.block_until_ready(descend(params, clipped(params, (x, y)), state))
    def reach():
        blank = np.ones(n, bool)
        found = []
        for at in range(n):
            blank[:] = True
            blank[at] = False
            found.append(length(clipped(params, (x, y), is_padding_example=jnp.asarray(blank))))
        return max(found) / BOUND

for line_ in sys.stdin:
    start = time.process_time()
    told = reach() if line_.strip() == "reach" else step()
    print(json.dumps({"s": time.process_time() - start, "reach": told}), flush=True)
"""


class Worker:
    """One way to train, in its own process."""

    def __init__(self, python, way, precision):
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.process = subprocess.Popen(
            [python, "-c", WORKER, way, precision, str(BATCH)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "XLA_FLAGS": flags},
        )  # fmt: skip

    def ask(self, what="step"):
        try:
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read()[-300:].strip().splitlines()[-1])
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()
        self.process.stderr.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("precision", nargs="*", help="fp32, bf16; both if none")
    parser.add_argument("--quick", action="store_true", help="two turns")
    given = parser.parse_args()
    turns_wanted = 2 if given.quick else TURNS
    ways = {"plain": sys.executable, "ours": sys.executable}
    peer = os.environ.get("VALLUM_JAX_PRIVACY", "")
    if peer:
        ways["jax-privacy"] = peer
    else:
        print("VALLUM_JAX_PRIVACY is not set: jax-privacy is not measured\n")
    print(
        f"{BATCH} samples a step, {turns_wanted} turns, one thread; load {os.getloadavg()[0]:.1f}"
    )
    print("from all that runs on the machine, at the start.\n")
    print("| precision | way | samples/s | of plain | reach |")
    print("|---|---|---|---|---|")
    for precision in given.precision or ("fp32", "bf16"):
        workers = {}
        for way, python in ways.items():
            worker = Worker(python, way, precision)
            try:
                worker.ask(), worker.ask()
                workers[way] = worker
            except RuntimeError as error:
                print(f"| {precision} | {way} | does not run: {str(error)[:90]} | | |")
        turns = [{way: one.ask()["s"] for way, one in workers.items()} for _ in range(turns_wanted)]
        for way, worker in workers.items():
            share = statistics.median(turn["plain"] / turn[way] for turn in turns)
            seconds = statistics.median(turn[way] for turn in turns)
            reach = worker.ask("reach")["reach"]
            told = "" if reach is None else f"{reach:.6f}"
            print(
                f"| {precision} | {way} | {BATCH / seconds:.0f} | {share:.2f} | {told} |",
                flush=True,
            )
            worker.close()


if __name__ == "__main__":
    main()
