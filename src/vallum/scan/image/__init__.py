"""Static findings in container images; nothing of them is executed or unpacked."""

from vallum.scan.image.door import ImageReport, scan_image
from vallum.scan.image.layout import Layout, is_layout, layout_of, open_layout
from vallum.scan.image.reports import Report, read_report
from vallum.scan.image.rules import (
    ImageRules,
    TrustedBase,
    Waiver,
    Written,
    chain_id,
    read_rules,
    rules_of,
)
from vallum.scan.image.signature import Signed, add_signature, payload_of, verify_signatures

__all__ = [
    "ImageReport",
    "ImageRules",
    "Layout",
    "Report",
    "Signed",
    "TrustedBase",
    "Waiver",
    "Written",
    "add_signature",
    "chain_id",
    "is_layout",
    "layout_of",
    "open_layout",
    "payload_of",
    "read_report",
    "read_rules",
    "rules_of",
    "scan_image",
    "verify_signatures",
]
