"""Room `worker`: runs queued jobs in the sandbox; holds no key."""

from vallum.worker.loop import Desk, work

__all__ = ["Desk", "work"]
