"""The database and the encrypted objects, over back-ends that are not trusted."""

from vallum.store.database import Database, Snapshot, Transaction

__all__ = ["Database", "Snapshot", "Transaction"]
