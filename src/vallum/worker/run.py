"""Run one claimed job in the sandbox; what comes back is bounded and trusted for nothing."""

import msgspec

from vallum.base import InputError, VallumError
from vallum.formats import TarArchive
from vallum.sandbox import Input, Limits, Outcome, Runner, Status
from vallum.sandbox import Job as SandboxJob
from vallum.schema import PRIVACY_REPORT, Job

MAX_LOG_BYTES = 4 * 1024 * 1024
MAX_CODE_FILE_BYTES = 64 * 1024 * 1024
OUTPUT_BYTES = 512 * 1024 * 1024


def run_job(
    runner: Runner, job: Job, code: bytes, inputs: dict[str, bytes]
) -> tuple[Outcome | None, str]:
    """Run `job`.

    Inputs lie at `/in/<name>`, the code at `/code`, and `/in/job.json` has the parameters; the
    job leaves each declared output at `/out/<name>`, and a private one its report beside them.

    Returns:
        What the sandbox left, and why it could not begin (empty if it did).
    """
    try:
        archive = TarArchive(code)
        files = {
            member.name: archive.read(member, MAX_CODE_FILE_BYTES) for member in archive.files()
        }
        description = {
            "name": job.name,
            "parameters": job.parameters,
            "inputs": sorted(inputs),
            "outputs": sorted(job.outputs),
        }
        outputs = tuple(sorted(job.outputs))
        if job.privacy is not None:
            description["privacy"] = msgspec.to_builtins(job.privacy)
            outputs = (*outputs, PRIVACY_REPORT)
        given = [Input(name=name, data=data) for name, data in sorted(inputs.items())]
        given.append(Input(name="job.json", data=msgspec.json.encode(description)))
        sandboxed = SandboxJob(
            argv=("python", f"/code/{job.entry}"),
            inputs=tuple(given),
            limits=Limits(
                memory_bytes=job.limits.memory_bytes,
                cpu_s=job.limits.cpu_s,
                wall_s=float(job.limits.wall_s),
                processes=job.limits.processes,
                file_bytes=job.limits.file_bytes,
                tmp_bytes=job.limits.tmp_bytes,
                output_bytes=OUTPUT_BYTES,
            ),
            outputs=outputs,
            code=files,
        )
        return runner.run(sandboxed), ""
    except InputError as error:
        return None, error.message
    except VallumError as error:
        return None, f"{error.message} ({error.code})"


def log_of(outcome: Outcome) -> bytes:
    """Return the end of what the job printed, at most `MAX_LOG_BYTES`."""
    both = outcome.stdout + (b"\n--- stderr ---\n" + outcome.stderr if outcome.stderr else b"")
    return both[-MAX_LOG_BYTES:]


def status_of(outcome: Outcome) -> str:
    """Return `ok`, or how the job ended otherwise."""
    return "ok" if outcome.status is Status.OK else outcome.status.value
