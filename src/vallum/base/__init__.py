"""Ground floor: errors, ids, digests, time, bounds, atomic files, canonical JSON, permits."""

from vallum.base.atomic import sync_folder, write_atomic, write_chunks_atomic
from vallum.base.canonical import canonical_json
from vallum.base.clock import (
    Clock,
    ManualClock,
    SystemClock,
    parse_timestamp,
    stored_time,
    timestamp,
)
from vallum.base.errors import (
    ConflictError,
    GateError,
    InputError,
    IntegrityError,
    LimitExceededError,
    NotFoundError,
    RefusedError,
    SealedError,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
)
from vallum.base.ids import Digest, ResourceId, digest, is_id, new_id
from vallum.base.names import check_name, name_key
from vallum.base.networks import Networks, check_networks, network_of
from vallum.base.permit import Permit
from vallum.base.run import Run, run_here
from vallum.base.secret import Secret

__all__ = [
    "Clock",
    "ConflictError",
    "Digest",
    "GateError",
    "InputError",
    "IntegrityError",
    "LimitExceededError",
    "ManualClock",
    "Networks",
    "NotFoundError",
    "Permit",
    "RefusedError",
    "ResourceId",
    "Run",
    "SealedError",
    "Secret",
    "SystemClock",
    "UnauthenticatedError",
    "UnavailableError",
    "VallumError",
    "canonical_json",
    "check_name",
    "check_networks",
    "digest",
    "is_id",
    "name_key",
    "network_of",
    "new_id",
    "parse_timestamp",
    "run_here",
    "stored_time",
    "sync_folder",
    "timestamp",
    "write_atomic",
    "write_chunks_atomic",
]
