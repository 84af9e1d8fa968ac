"""Every domain-separation string of the room, in one place."""

from enum import StrEnum


class Purpose(StrEnum):
    """What a key derived from the workspace key is for; no key serves two purposes."""

    CHECKPOINT = "checkpoint"
    COMMITMENT = "commitment"
    CREDENTIAL = "credential"
    DETAILS = "details"
    EVALUATION = "evaluation"
    EVIDENCE = "evidence"
    LEASE = "lease"
    OBJECT_NAME = "object-name"
    OUTPUT_NOISE = "output-noise"
    PAGE_TOKEN = "page-token"  # noqa: S105 - a purpose, not a token
    RELEASE = "release"
    ROW_MAC = "row-mac"
    SET_ROOT = "set-root"
    TRACE = "trace"
    WRAP = "wrap"


DERIVE = b"vallum.derive/1\x00"
SHRED = b"vallum.shred/1\x00"
SHRED_CHILD = b"vallum.shred-child/1\x00"
WRAP_KEY = b"vallum.wrap/1\x00"
SEALED = b"vallum.sealed/1\x00"
CREDENTIAL_HASH = b"vallum.credential/1\x00"
WORKSPACE_CONTEXT = b"vallum.workspace-key/1\x00"
DATA_KEY_CONTEXT = b"vallum.data-key/1\x00"
