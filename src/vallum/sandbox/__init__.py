"""Room `sandbox`: the only room that starts processes; untrusted ones see nothing but their job."""

from vallum.sandbox.bubblewrap import BubblewrapRunner
from vallum.sandbox.job import Input, Job, Limits, Outcome, Runner, Status
from vallum.sandbox.memory import is_sealed, memory_file

__all__ = [
    "BubblewrapRunner",
    "Input",
    "Job",
    "Limits",
    "Outcome",
    "Runner",
    "Status",
    "is_sealed",
    "memory_file",
]
