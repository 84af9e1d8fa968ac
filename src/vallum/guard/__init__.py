"""Room `guard`: run-time defence of endpoints; synchronous, non-blocking, constant time."""

from vallum.guard.decisions import (
    Decisions,
    count_decisions,
    pack_decisions,
    unpack_decisions,
)
from vallum.guard.rates import RateLimiter
from vallum.guard.v2 import (
    MAX_BODY_BYTES,
    InferenceRequest,
    InferenceResponse,
    Output,
    Spec,
    decode_request,
    encode_response,
    shape_output,
)

__all__ = [
    "MAX_BODY_BYTES",
    "Decisions",
    "InferenceRequest",
    "InferenceResponse",
    "Output",
    "RateLimiter",
    "Spec",
    "count_decisions",
    "decode_request",
    "encode_response",
    "pack_decisions",
    "shape_output",
    "unpack_decisions",
]
