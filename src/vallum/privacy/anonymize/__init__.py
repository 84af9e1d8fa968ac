"""Anonymization: hierarchies, requirements, methods, risk and utility of the result."""

from vallum.privacy.anonymize.anonymize import (
    METHODS,
    Anonymized,
    Method,
    Requirements,
    anonymize,
    unmet,
)
from vallum.privacy.anonymize.automatic import automatic_hierarchy
from vallum.privacy.anonymize.hierarchy import Hierarchy, read_hierarchy
from vallum.privacy.anonymize.presence import measure_presence
from vallum.privacy.anonymize.report import report_page, report_record
from vallum.privacy.anonymize.utility import Utility, measure_utility

__all__ = [
    "METHODS",
    "Anonymized",
    "Hierarchy",
    "Method",
    "Requirements",
    "Utility",
    "anonymize",
    "automatic_hierarchy",
    "measure_presence",
    "measure_utility",
    "read_hierarchy",
    "report_page",
    "report_record",
    "unmet",
]
