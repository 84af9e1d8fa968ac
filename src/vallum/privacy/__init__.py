"""Room `privacy`: find personal data, mask it, generalise it, count how anonymous a table is."""

from vallum.privacy.anonymity import (
    AnonymityCheck,
    Diversity,
    PresenceCheck,
    check_anonymity,
    check_presence,
)
from vallum.privacy.discover import ColumnFinding, Discovery, discover_table
from vallum.privacy.mask import mask_table, mask_text, unmask_table
from vallum.privacy.ner import ENTITIES, Recognizer, WithEngine, read_spacy
from vallum.privacy.nested import discover_nested
from vallum.privacy.recipe import (
    LOCAL_OPERATIONS,
    Masking,
    Recipe,
    local_costs,
    local_mechanism,
    parse_recipe,
    recipe_schema,
    suggest_recipe,
)
from vallum.privacy.report import pii_report
from vallum.privacy.risk import (
    Risk,
    Suggestion,
    measure_risk,
    suggest_quasi_identifiers,
)
from vallum.privacy.text import Span, discover_text, discover_texts

__all__ = [
    "ENTITIES",
    "LOCAL_OPERATIONS",
    "AnonymityCheck",
    "ColumnFinding",
    "Discovery",
    "Diversity",
    "Masking",
    "PresenceCheck",
    "Recipe",
    "Recognizer",
    "Risk",
    "Span",
    "Suggestion",
    "WithEngine",
    "check_anonymity",
    "check_presence",
    "discover_nested",
    "discover_table",
    "discover_text",
    "discover_texts",
    "local_costs",
    "local_mechanism",
    "mask_table",
    "mask_text",
    "measure_risk",
    "parse_recipe",
    "pii_report",
    "read_spacy",
    "recipe_schema",
    "suggest_quasi_identifiers",
    "suggest_recipe",
    "unmask_table",
]
