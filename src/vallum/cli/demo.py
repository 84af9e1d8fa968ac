"""`vallum demo`: the whole main job on real data, in a fresh workspace, with real doors.

ingest → protect → train → test → register → sign → deploy → serve → monitor → verify, as an
author and a releaser, each with a key of their own, over HTTPS.
"""

import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vallum.base import GateError, RefusedError, Secret, UnavailableError
from vallum.cli.progress import Advance, progress
from vallum.sandbox import Process, spawn
from vallum.schema import Evidence, Job, JobState
from vallum.sdk import Client, connect, read_key_file

TRAIN, HOLDOUT, MODEL, ENDPOINT = "patients", "patients-holdout", "tumour-risk", "tumour-risk"
STEPS = (
    "start", "people", "ingest", "protect", "train", "register", "test", "sign", "refused",
    "deploy", "serve", "monitor", "verify",
)  # fmt: skip
START_S = 60.0
JOB_S = 120.0


@dataclass(slots=True)
class Story:
    """Narrates, and keeps every figure for `--json`."""

    quiet: bool
    advance: Advance
    figures: dict[str, object] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)

    def tell(self, step: str, text: str, **figures: object) -> None:
        """Say a line about a step and keep its figures."""
        self.figures[step] = {**figures, "seconds": round(time.monotonic() - self.started_s, 2)}
        if not self.quiet:
            elapsed = time.monotonic() - self.started_s
            sys.stdout.write(f"{elapsed:5.1f} s  {step:<9} {text}\n")
            sys.stdout.flush()
        self.advance(1)


def demo(*, keep: Path | None = None, json_output: bool = False, serve: bool = False) -> int:
    """Run the main job end to end and leave, or keep, the workspace.

    Args:
        keep: Folder for the workspace; a temporary one that is removed, if None.
        json_output: Print one JSON object with every figure instead of the story.
        serve: Stay up afterwards until interrupted.

    Returns:
        Exit code: 0 if every step did what it must.
    """
    folder = Path(tempfile.mkdtemp(prefix="vallum-demo-")) if keep is None else keep.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    process: Process | None = None
    try:
        port, gateway_port = _free_port(), _free_port()
        process = _start(folder, port, gateway_port)
        url = f"https://127.0.0.1:{port}"
        with progress("the main job", total=len(STEPS), unit="steps") as advance:
            story = Story(quiet=json_output, advance=advance)
            owner = _connect(folder, url, process)
            story.tell(
                "start",
                f"server, gateway and worker on loopback with TLS; workspace in {folder / 'data'}",
                url=url,
            )
            _run(story, owner, folder, url)
        if json_output:
            said = {"schema": "vallum.demo/1", "steps": story.figures, "folder": str(folder)}
            sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
        else:
            _next_steps(folder, url, kept=keep is not None or serve)
        if serve:
            process.wait(None)
        return 0
    except KeyboardInterrupt:
        return 0
    finally:
        if process is not None:
            process.stop(30.0)
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path, port: int, gateway_port: int) -> Process:
    arguments = (
        "python", "-m", "vallum.cli", "up", "--data", str(folder / "data"),
        "--port", str(port), "--gateway-port", str(gateway_port),
    )  # fmt: skip
    log = os.open(folder / "up.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return spawn(arguments, env=dict(os.environ), log=log)
    finally:
        os.close(log)


def _connect(folder: Path, url: str, process: Process) -> Client:
    """Wait until the doors answer."""
    keys = folder / "data.keys"
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            log = (folder / "up.log").read_text()[-2000:]
            raise UnavailableError(f"the server did not start: {log}", code="demo.start")
        if (keys / "ca.pem").exists() and (keys / "owner.key").exists():
            client = connect(url, token_file=keys / "owner.key", ca_file=keys / "ca.pem")
            try:
                client.workspace.show()
            except UnavailableError:
                client.close()
            else:
                return client
        time.sleep(0.05)
    raise UnavailableError("the server did not answer", code="demo.start")


def _run(story: Story, owner: Client, folder: Path, url: str) -> None:
    from vallum.cli.demo_data import LABEL, feature_names, patients

    author, releaser = _people(story, owner, folder, url)
    train, holdout, rows = patients()
    features = feature_names()

    shown = author.data.create(TRAIN, train, format="csv", description="biopsies and identities")
    author.data.create(HOLDOUT, holdout, format="csv")
    pii = _evidence(shown.evidence, "pii")
    story.tell(
        "ingest",
        f"{shown.version.rows} patients, {pii.measures['columns']} columns,"
        f" {pii.measures['personal_columns']} of them personal: labelled {shown.version.label}",
        rows=shown.version.rows,
        personal_columns=pii.measures["personal_columns"],
        label=shown.version.label,
    )

    protected = author.data.protect(TRAIN, k=5)
    author.data.protect(HOLDOUT, k=5)
    anonymity = _evidence(protected.evidence, "anonymity")
    story.tell(
        "protect",
        f"identifiers dropped, postcode and birth date generalised: k = {anonymity.measures['k']},"
        f" {anonymity.measures['suppressed']} records suppressed,"
        f" loss {float(anonymity.measures['loss']):.2f}",
        **{name: anonymity.measures[name] for name in ("k", "suppressed", "loss")},
    )

    code = Path(__file__).parent / "demo_job"
    author.jobs.submit(
        "train-tumour-risk",
        code,
        entry="train.py",
        inputs={"train": f"data/{TRAIN}-protected"},
        outputs={"model.onnx": f"model/{MODEL}"},
        parameters={"features": ",".join(features), "label": LABEL, "c": "0.05"},
    )
    job = _wait(lambda: author.jobs.show("train-tumour-risk"))
    said = author.jobs.logs(job.name).decode(errors="replace").splitlines()
    if job.state is not JobState.COMPLETED:
        raise GateError(f"training ended {job.state.value}: {job.reason}", code="demo.train")
    story.tell(
        "train",
        f"in the sandbox ({len(job.enforced)} limits held: {', '.join(job.enforced[:4])}, …);"
        f" {said[0] if said else ''}",
        limits=list(job.enforced),
    )

    model = author.models.show(MODEL)
    scan = _evidence(model.evidence, "scan")
    story.tell(
        "register",
        f"{MODEL}:{model.version.version} {model.version.digest[:26]}…,"
        f" scan {scan.parameters['verdict']}",
        digest=model.version.digest,
        scan=scan.parameters["verdict"],
    )

    tested = author.models.test(
        MODEL,
        data=f"{TRAIN}-protected",
        holdout=f"{HOLDOUT}-protected",
        label_column=LABEL,
        features=features,
        budget_s=30,
    )
    evasion = _evidence(tested.evidence, "evasion")
    membership = _evidence(tested.evidence, "membership")
    extraction = _evidence(tested.evidence, "extraction")
    figures = _evidence(tested.evidence, "performance")
    story.tell(
        "test",
        f"the {evasion.parameters['suite']} suite flips"
        f" {_percent(evasion.measures['success_rate'])} of"
        f" {evasion.measures['attacked']} within {evasion.measures['epsilon']} σ"
        f" ({evasion.verdict.value}); membership AUC {float(membership.measures['auc']):.2f}"
        f" [{float(membership.measures['auc_low']):.2f},"
        f" {float(membership.measures['auc_high']):.2f}] ({membership.verdict.value});"
        f" a thief copies {_percent(extraction.measures['fidelity'])} of its answers; accuracy"
        f" {_percent(figures.measures['accuracy'])}",
        evasion=evasion.measures,
        membership=membership.measures,
        extraction=extraction.measures,
        performance=figures.measures,
    )

    signed = releaser.models.sign(MODEL)
    by = signed.signatures[-1]
    story.tell(
        "sign",
        f"OpenSSF model signature by {by.name} with the {by.key_kind} key {by.key_id[:16]}",
        signer=by.signer,
    )

    author.endpoints.create(ENDPOINT, stage="production")
    try:
        author.endpoints.deploy(ENDPOINT, MODEL, decimals=3)
    except RefusedError as refused:
        story.tell("refused", f"deploy without a second person: {refused.message[:110]}")
    else:
        raise GateError("a deployment without approval went through", code="demo.approval")
    session = connect(
        url,
        token=Secret(releaser.identities.session().secret),
        ca_file=folder / "data.keys" / "ca.pem",
    )
    session.approvals.create(MODEL, endpoint=ENDPOINT)
    session.close()
    author.endpoints.deploy(ENDPOINT, MODEL, decimals=3)
    deployed = author.endpoints.wait(ENDPOINT)
    story.tell(
        "deploy",
        f"approved by the releaser, deployed to {ENDPOINT} (production),"
        f" {deployed.deployments[0].model_digest[:19]}…",
        traffic=deployed.endpoint.traffic,
    )

    key = Secret(owner.endpoints.keys(ENDPOINT).secret)
    latency, answer = _score(author, deployed.scoring_uri, key, rows)
    story.tell(
        "serve",
        f"{len(latency)} HTTPS requests, median {statistics.median(latency):.1f} ms;"
        f" first answer {answer}",
        median_ms=round(statistics.median(latency), 2),
        answer=answer,
    )

    drift = _evidence(
        author.data.drift(f"{HOLDOUT}-protected", reference=f"{TRAIN}-protected").evidence, "drift"
    )
    story.tell(
        "monitor",
        f"{drift.measures['drifted']} of {drift.measures['features']} features drifted"
        f" (largest PSI {float(drift.measures['largest_psi']):.2f}): {drift.verdict.value}",
        **drift.measures,
    )

    verified = owner.workspace.verify()
    posture = owner.workspace.posture()
    if verified.findings:
        raise GateError(f"verification found {verified.findings[0].message}", code="demo.verify")
    story.tell(
        "verify",
        f"{verified.entries} log entries, {verified.records} rows, {verified.objects} objects:"
        f" everything held; posture: {len(posture.findings)} finding(s)",
        entries=verified.entries,
        root=verified.root,
        posture=[finding.message for finding in posture.findings],
    )


def _people(story: Story, owner: Client, folder: Path, url: str) -> tuple[Client, Client]:
    """Make an author and a releaser, each with a key of their own."""
    clients = []
    roles = {
        "author": ("Machine Learning Engineer", "Vallum Endpoint Invoker", "Vallum Data Reader"),
        "releaser": ("Vallum Releaser",),
    }
    for name, given in roles.items():
        owner.identities.create(name)
        for role in given:
            owner.roles.assign(role, name)
        key = owner.keys.create(f"{name}-demo", principal=name)
        path = folder / "data.keys" / f"{name}.key"
        path.touch(mode=0o600)
        path.write_text(key.secret)
        clients.append(
            connect(url, token=read_key_file(path), ca_file=folder / "data.keys" / "ca.pem")
        )
    story.tell("people", "an author and a releaser, each with a role and a key of their own")
    return clients[0], clients[1]


def _score(
    client: Client, uri: str, key: Secret, rows: list[list[float]]
) -> tuple[list[float], object]:
    latency: list[float] = []
    answer: object = None
    end = time.monotonic() + 20.0
    for row in rows:
        body = msgspec.json.encode(
            {"inputs": [{"name": "X", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}
        )
        reply = b""
        while not reply:
            start = time.perf_counter()
            try:
                reply = client.score(uri, body, key=key)
            except UnavailableError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)  # the deployment is still starting
            else:
                latency.append((time.perf_counter() - start) * 1000)
        if answer is None:
            outputs = msgspec.json.decode(reply)["outputs"]
            answer = {one["name"]: one["data"] for one in outputs}
    return latency, answer


def _evidence(found: tuple[Evidence, ...], gate: str) -> Evidence:
    for one in found:
        if one.gate == gate:
            return one
    raise GateError(f"gate `{gate}` left no evidence", code="demo.evidence")


def _wait(look: Callable[[], Job]) -> Job:
    end = time.monotonic() + JOB_S
    while time.monotonic() < end:
        job = look()
        if job.state not in {JobState.QUEUED, JobState.RUNNING}:
            return job
        time.sleep(0.1)
    raise UnavailableError("the job did not end in time", code="demo.job")


def _percent(text: str) -> str:
    return f"{100 * float(text):.0f} %"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _next_steps(folder: Path, url: str, *, kept: bool) -> None:
    if not kept:
        sys.stdout.write(
            "\nThe workspace is gone now; keep one with `vallum demo --keep DIR --serve`, then try"
            "\n  vallum audit list · vallum model show tumour-risk · vallum role explain author"
            " models/versions/sign/action\n"
        )
        return
    keys = folder / "data.keys"
    sys.stdout.write(
        f"\nTry next:\n"
        f"  export VALLUM_URL={url} VALLUM_CA={keys}/ca.pem VALLUM_TOKEN_FILE={keys}/owner.key\n"
        "  vallum audit list\n  vallum model show tumour-risk\n"
        "  vallum role explain author models/versions/sign/action\n  vallum verify\n"
    )
