"""Private training beside the same training without privacy, Opacus and torch.func, on one thread.

Opacus needs an interpreter that has it; torch must be the same version there:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install torch==2.13.0 opacus
    VALLUM_OPACUS=/tmp/peers/bin/python .venv/bin/python benchmarks/defend_dp_training.py

Models: a vision transformer of 4 blocks (width 128, 4 heads, 64 tokens of 3 x 32 x 32), batch 64;
WRN-16-1 with group normalisation, batch 128. A step is forward, backward, clipping, noise and
SGD. Every way runs in a process of its own, and they take turns step by step; figures are CPU time.
The throughput is that of the plain step of the same turn over theirs, the median of all turns.
Ours keeps what it frees for the next step; glibc is told to do so for all others too, or they would
spend up to a fifth of a step, at random, to have it mapped again; "plain, as it comes" is without.
Memory is what the process holds at its peak beyond what it held before the model was made, measured
in a run of its own in which every freed block goes back at once.

What privacy costs and buys on scikit-learn's digits is in `defend_training.py`.
Arguments name the models to measure.
"""

import json
import os
import statistics
import subprocess
import sys

TURNS = 11
KEEPING = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}
BARS = {"vit": 0.75, "wrn": 0.5}
MEMORY_BAR = 1.3
BATCH = {"vit": 64, "wrn": 128}
WORKER = r"""
import json, os, resource, sys, time, warnings
warnings.filterwarnings("ignore")
kind, way, precision = sys.argv[1:4]
import torch
from torch import nn
from torch.nn import functional as F
torch.set_num_threads(1)

class Attn(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.h, self.qkv, self.out = h, nn.Linear(d, 3 * d), nn.Linear(d, d)
    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v)
        return self.out(z.transpose(1, 2).contiguous().view(n, t, d))

class Block(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.n1, self.a, self.n2 = nn.LayerNorm(d), Attn(d, h), nn.LayerNorm(d)
        self.m = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
    def forward(self, x):
        x = x + self.a(self.n1(x))
        return x + self.m(self.n2(x))

class ViT(nn.Module):
    def __init__(self, d=128):
        super().__init__()
        self.patch, self.pos = nn.Conv2d(3, d, 4, 4), nn.Embedding(64, d)
        self.blocks = nn.Sequential(*[Block(d, 4) for _ in range(4)])
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)
    def forward(self, x):
        z = self.patch(x).flatten(2).transpose(1, 2).contiguous()
        # Places in memory of their own: Opacus' ghost clipping asks for views of them.
        z = z + self.pos(torch.arange(z.shape[1]).repeat(len(z), 1))
        return self.head(self.norm(self.blocks(z)).mean(1))

class Wide(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.n1, self.n2 = nn.GroupNorm(16, i), nn.GroupNorm(16, o)
        self.c1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.c2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.s = nn.Conv2d(i, o, 1, stride, bias=False) if i != o else None
    def forward(self, x):
        z = F.relu(self.n1(x))
        return (x if self.s is None else self.s(z)) + self.c2(F.relu(self.n2(self.c1(z))))

class WRN(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        shape = [(16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.blocks = nn.Sequential(*[Wide(*one) for one in shape])
        self.norm, self.head = nn.GroupNorm(16, 64), nn.Linear(64, 10)
    def forward(self, x):
        return self.head(F.relu(self.norm(self.blocks(self.stem(x)))).mean((2, 3)))

if way.startswith("opacus"):
    import opacus
if way == "ours":
    from vallum.defend import dp
    import vallum.defend.dp.trainer, dp_accounting.pld

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))

torch.mm(torch.ones(64, 64), torch.ones(64, 64))
torch.manual_seed(0)
n = int(sys.argv[4])
x, y = torch.randn(n, 3, 32, 32), torch.randint(10, (n,))
every = torch.arange(n)
held = status("VmRSS")
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
model = {"vit": ViT, "wrn": WRN}[kind]()
bound, noise = 1.0, 1.0
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def cast():
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")

if way.startswith("plain"):
    def step():
        a, b = x[every], y[every]  # a batch is a copy, to everybody
        with cast():
            loss = F.cross_entropy(model(a), b)
        loss.backward(); optimizer.step(); optimizer.zero_grad()
elif way == "ours":
    trainer = dp.make_private(model, optimizer, (x, y), epsilon=8, delta=1e-3, batch_size=n,
                              epochs=10_000, accountant="rdp", physical_batch=n)
    batches = trainer.batches()
    def step():
        # One batch holds all records, so that all ways do the same work.
        a, b = next(batches)
        with cast():
            losses = F.cross_entropy(model(a), b, reduction="none")
        trainer.step(losses)
elif way.startswith("opacus"):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=n)
    mode = way.partition("-")[2]
    made = opacus.PrivacyEngine().make_private(
        module=model, optimizer=optimizer, data_loader=loader, noise_multiplier=noise,
        max_grad_norm=bound, poisson_sampling=False, grad_sample_mode=mode,
        **({"criterion": nn.CrossEntropyLoss()} if mode == "ghost" else {}))
    model, optimizer = made[:2]
    criterion = made[2] if mode == "ghost" else nn.CrossEntropyLoss()
    def step():
        a, b = x[every], y[every]
        with cast():
            loss = criterion(model(a), b)
        loss.backward(); optimizer.step(); optimizer.zero_grad()
else:
    from torch.func import functional_call, grad, vmap
    names = dict(model.named_parameters())
    def loss_of(p, a, b):
        with cast():
            return F.cross_entropy(functional_call(model, p, (a[None],)), b[None])
    each = vmap(grad(loss_of), in_dims=(None, 0, 0))
    def step():
        a, b = x[every], y[every]
        found = each({k: v.detach() for k, v in names.items()}, a, b)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in found.values()]).norm(dim=0)
        weights = (bound / norms).clamp(max=1)
        for name, p in names.items():
            g = found[name]
            total = (weights @ g.flatten(1).float()).view(p.shape)
            p.grad = (total + noise * bound * torch.randn_like(p)) / n
        optimizer.step(); optimizer.zero_grad()

for line in sys.stdin:
    start = time.process_time()
    step()
    print(json.dumps({"s": time.process_time() - start, "mib": status("VmHWM") - held}), flush=True)
"""


class Worker:
    """One way to train, in its own process."""

    def __init__(self, python, kind, way, precision, **env):
        self.process = subprocess.Popen(
            [python, "-c", WORKER, kind, way, precision, str(BATCH[kind])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        )  # fmt: skip

    def step(self):
        try:
            self.process.stdin.write("\n")
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


def measure(kind, precision, ways):
    """Return per way: share of the plain throughput, seconds, MiB; or why it does not run."""
    workers, failed = {}, {}
    for way, python in ways.items():
        alone = way in {"ours", "plain, as it comes"}
        worker = Worker(python, kind, way, precision, **({} if alone else KEEPING))
        try:
            worker.step(), worker.step()
            workers[way] = worker
        except RuntimeError as error:
            failed[way] = str(error)
    turns = [{way: worker.step()["s"] for way, worker in workers.items()} for _ in range(TURNS)]
    for worker in workers.values():
        worker.close()
    found = {}
    for way, python in ways.items():
        if way in failed:
            continue
        worker = Worker(python, kind, way, precision, MALLOC_MMAP_THRESHOLD_="16384",
                        MALLOC_MMAP_MAX_="1000000")  # fmt: skip
        memory = [worker.step()["mib"] for _ in range(3)][-1]
        worker.close()
        found[way] = (
            statistics.median(turn["plain"] / turn[way] for turn in turns),
            statistics.median(turn[way] for turn in turns),
            memory,
        )
    return found, failed


def main():
    opacus = os.environ.get("VALLUM_OPACUS", "")
    own = ("plain", "plain, as it comes", "ours", "vmap")
    ways = dict.fromkeys(own, sys.executable)
    if opacus:
        ways |= {"opacus-ghost": opacus, "opacus-hooks": opacus}
    else:
        print("VALLUM_OPACUS is not set: Opacus is not measured\n")
    print("| model | precision | way | samples/s | of plain | MiB | of plain |")
    print("|---|---|---|---|---|---|---|")
    failures = []
    for kind, batch in BATCH.items():
        if sys.argv[1:] and kind not in sys.argv[1:]:
            continue
        for precision in ("fp32", "bf16"):
            found, failed = measure(kind, precision, ways)
            for way, (share, seconds, mib) in found.items():
                memory = mib / found["plain"][2]
                print(f"| {kind} | {precision} | {way} | {batch / seconds:.0f} |"
                      f" {share:.2f} | {mib:.0f} | {memory:.2f} |", flush=True)  # fmt: skip
                if way == "ours" and (share < BARS[kind] or memory > MEMORY_BAR):
                    failures.append(f"{kind} {precision}: {share:.2f}, memory {memory:.2f}")
            for way, why in failed.items():
                print(f"| {kind} | {precision} | {way} | does not run: {why[:80]} | | | |")
    print(f"\nBars: {BARS}, memory {MEMORY_BAR}. Missed: {'; '.join(failures) or 'none'}.")


if __name__ == "__main__":
    main()
