"""Room `guard`: run-time defence of endpoints; synchronous, non-blocking, constant time."""

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
    "InferenceRequest",
    "InferenceResponse",
    "Output",
    "RateLimiter",
    "Spec",
    "decode_request",
    "encode_response",
    "shape_output",
]
