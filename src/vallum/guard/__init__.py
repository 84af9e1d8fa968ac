"""Room `guard`: run-time defence of endpoints; synchronous, non-blocking, constant time."""

from vallum.guard.decisions import (
    TEST_MARK,
    Decisions,
    count_decisions,
    count_tests,
    pack_decisions,
    unpack_decisions,
)
from vallum.guard.dialects import DIALECTS, V2, Dialect
from vallum.guard.information import Detail, answer_bits, detail_at, in_detail
from vallum.guard.rates import RateLimiter
from vallum.guard.raw import check_json
from vallum.guard.shaping import Hardening, check_policy, labels_of
from vallum.guard.v2 import (
    MAX_BODY_BYTES,
    InferenceRequest,
    InferenceResponse,
    Output,
    Spec,
    decode_request,
    encode_input,
    encode_response,
    shape_output,
)

__all__ = [
    "DIALECTS",
    "MAX_BODY_BYTES",
    "TEST_MARK",
    "V2",
    "Decisions",
    "Detail",
    "Dialect",
    "Hardening",
    "InferenceRequest",
    "InferenceResponse",
    "Output",
    "RateLimiter",
    "Spec",
    "answer_bits",
    "check_json",
    "check_policy",
    "count_decisions",
    "count_tests",
    "decode_request",
    "detail_at",
    "encode_input",
    "encode_response",
    "in_detail",
    "labels_of",
    "pack_decisions",
    "shape_output",
    "unpack_decisions",
]
