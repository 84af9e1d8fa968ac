"""Permits of open bundles: who may still add to which one, in this process."""

import threading
from dataclasses import dataclass

from vallum.base import Permit

Key = tuple[str, str, str]  # principal, credential, run
MAX_LEASES = 10_000


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to add to one bundle under one authority generation."""

    bundle_id: str
    experiment_id: str
    generation: int
    permit: Permit


class Leases:
    """Holds the leases. Safe for threads."""

    def __init__(self) -> None:
        self._leases: dict[Key, Lease] = {}
        self._lock = threading.Lock()

    def get(self, key: Key) -> Lease | None:
        """Return the lease of `key`, which may have run out."""
        with self._lock:
            return self._leases.get(key)

    def keep(self, key: Key, lease: Lease) -> None:
        """Keep a lease; the oldest goes where there are too many."""
        with self._lock:
            self._leases.pop(key, None)
            self._leases[key] = lease
            while len(self._leases) > MAX_LEASES:
                del self._leases[next(iter(self._leases))]

    def drop(self, key: Key, lease: Lease) -> None:
        """Forget a lease, unless another took its place."""
        with self._lock:
            if self._leases.get(key) is lease:
                del self._leases[key]
