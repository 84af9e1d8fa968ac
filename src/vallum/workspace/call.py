"""One request as the kernel keeps it, and what the log and the policy call it."""

import hashlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from vallum.base import canonical_json, new_id
from vallum.schema import Caller, Decision, Reason, Record
from vallum.workspace.step import Step


@dataclass(frozen=True, slots=True)
class Call:
    """A step that somebody asked for."""

    step: Step
    caller: Caller
    arguments: Record
    content: BinaryIO | None
    request_id: str
    dry_run: bool
    purpose: str
    request_digest: str


class DryRun(Exception):  # noqa: N818 - not an error
    """Rolls the transaction back, with the reply that the step would have given."""

    def __init__(self, value: Any) -> None:  # noqa: ANN401 - the reply of any step
        """Keep the reply."""
        super().__init__()
        self.value = value


def policy_step(name: str) -> str:
    """Return what the policy file calls a step: its verb, but that a job trains."""
    return "train" if name == "job.submit" else name.partition(".")[2]


def unknown(call: Call, generation: int) -> Decision:
    """Refuse what does not exist exactly as what the caller may not know to exist."""
    return Decision(
        allowed=False,
        caller=call.caller,
        asks=(),
        request_digest=call.request_digest,
        reasons=(Reason(kind="default", id="", text="no such resource for this caller"),),
        generation=generation,
        concealed=True,
    )


def request_digest(caller: Caller, name: str, arguments: Record) -> str:
    """Name the request in the log without telling what personal data it held."""
    document = {"caller": caller.id, "step": name, "nonce": str(new_id("req"))}
    body = hashlib.sha256(canonical_json(document) + msgspec.json.encode(arguments))
    return "sha256:" + body.hexdigest()
