"""Every record that is stored, logged or sent: frozen structs, no behaviour, no I/O."""

from vallum.schema.access import (
    Ask,
    Caller,
    Decision,
    DenyAssignment,
    Principal,
    PrincipalKind,
    Reason,
    Resource,
    Role,
    RoleAssignment,
    Session,
)
from vallum.schema.entry import Change, Entry, EntryKind
from vallum.schema.evidence import Evidence, Finding, Label, Verdict
from vallum.schema.record import Measure, Record

__all__ = [
    "Ask",
    "Caller",
    "Change",
    "Decision",
    "DenyAssignment",
    "Entry",
    "EntryKind",
    "Evidence",
    "Finding",
    "Label",
    "Measure",
    "Principal",
    "PrincipalKind",
    "Reason",
    "Record",
    "Resource",
    "Role",
    "RoleAssignment",
    "Session",
    "Verdict",
]
