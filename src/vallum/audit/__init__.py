"""Room `audit`: the tamper-evident log. It alone hands out permits."""

from vallum.audit.admission import AdmissionRefusal, Head, Logged, LogTransaction
from vallum.audit.anchor import Anchor, FileAnchor
from vallum.audit.export import export_chunks, verify_export
from vallum.audit.log import Log, LogKeys
from vallum.audit.note import Checkpoint, sign_checkpoint, verify_checkpoint
from vallum.audit.publisher import Publisher
from vallum.audit.refusals import Refusals
from vallum.audit.sink import Courier, Sink, open_sink
from vallum.audit.tiles import Tiles
from vallum.audit.verify import LogReport, verify_log

__all__ = [
    "AdmissionRefusal",
    "Anchor",
    "Checkpoint",
    "Courier",
    "FileAnchor",
    "Head",
    "Log",
    "LogKeys",
    "LogReport",
    "LogTransaction",
    "Logged",
    "Publisher",
    "Refusals",
    "Sink",
    "Tiles",
    "export_chunks",
    "open_sink",
    "sign_checkpoint",
    "verify_checkpoint",
    "verify_export",
    "verify_log",
]
