"""Bring what an MLflow server holds into a workspace, over the workspace's own interface."""

from vallum.sdk.migrate.importing import Importer
from vallum.sdk.migrate.ledger import ImportReport, Refusal, Tally
from vallum.sdk.migrate.opening import open_source, open_sqlite
from vallum.sdk.migrate.rights import LEVELS, Grants, RightsRow, rights_after, rights_before
from vallum.sdk.migrate.source import Source

__all__ = [
    "LEVELS",
    "Grants",
    "ImportReport",
    "Importer",
    "Refusal",
    "RightsRow",
    "Source",
    "Tally",
    "open_source",
    "open_sqlite",
    "rights_after",
    "rights_before",
]
