"""The database and the encrypted objects, over back-ends that are not trusted."""

from vallum.store.authority import AUTHORITY_KINDS, AuthorityRows
from vallum.store.backend import open_backend
from vallum.store.changes import Unchanged
from vallum.store.database import Database, Snapshot, Transaction
from vallum.store.objects import Objects, chunks
from vallum.store.records import Records, Stored

__all__ = [
    "AUTHORITY_KINDS",
    "AuthorityRows",
    "Database",
    "Objects",
    "Records",
    "Snapshot",
    "Stored",
    "Transaction",
    "Unchanged",
    "chunks",
    "open_backend",
]
