"""Room `sandbox`: the only room that starts processes; untrusted ones see nothing but their job."""

from vallum.sandbox.bubblewrap import BubblewrapRunner
from vallum.sandbox.check import CHECK_LIMITS, Check, decode_answer, run_check
from vallum.sandbox.doctor import Problem, doctor
from vallum.sandbox.job import Input, Job, Limits, Nest, Network, Outcome, Runner, Status
from vallum.sandbox.memory import is_sealed, memory_file
from vallum.sandbox.pool import process_pool
from vallum.sandbox.process import Process, spawn
from vallum.sandbox.resident import Resident

__all__ = [
    "CHECK_LIMITS",
    "BubblewrapRunner",
    "Check",
    "Input",
    "Job",
    "Limits",
    "Nest",
    "Network",
    "Outcome",
    "Problem",
    "Process",
    "Resident",
    "Runner",
    "Status",
    "decode_answer",
    "doctor",
    "is_sealed",
    "memory_file",
    "process_pool",
    "run_check",
    "spawn",
]
