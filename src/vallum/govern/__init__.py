"""Room `govern`: rules over what other rooms found; pure, without files or clocks."""

from vallum.govern.bom import Inventory, Source, bill_of_materials
from vallum.govern.bom_difference import BomChange, BomDifference, BomFact, bom_difference
from vallum.govern.bom_image import image_bill_of_materials
from vallum.govern.sarif import sarif
from vallum.govern.threats import THREATS, Threat, threat

__all__ = [
    "THREATS",
    "BomChange",
    "BomDifference",
    "BomFact",
    "Inventory",
    "Source",
    "Threat",
    "bill_of_materials",
    "bom_difference",
    "image_bill_of_materials",
    "sarif",
    "threat",
]
