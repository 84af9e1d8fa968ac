"""Room `privacy`: find personal data, mask it, generalise it, count how anonymous a table is."""

from vallum.privacy.anonymity import AnonymityCheck, Diversity, check_anonymity
from vallum.privacy.discover import ColumnFinding, Discovery, discover_table
from vallum.privacy.mask import (
    Masking,
    Recipe,
    mask_table,
    mask_text,
    parse_recipe,
    recipe_schema,
    suggest_recipe,
    unmask_table,
)
from vallum.privacy.ner import ENTITIES, Recognizer, WithEngine, read_spacy
from vallum.privacy.nested import discover_nested
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
    "AnonymityCheck",
    "ColumnFinding",
    "Discovery",
    "Diversity",
    "Masking",
    "Recipe",
    "Recognizer",
    "Risk",
    "Span",
    "Suggestion",
    "WithEngine",
    "check_anonymity",
    "discover_nested",
    "discover_table",
    "discover_text",
    "discover_texts",
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
