"""Room `govern`: rules over what other rooms found; pure, without files or clocks."""

from vallum.govern.sarif import sarif
from vallum.govern.threats import THREATS, Threat, threat

__all__ = ["THREATS", "Threat", "sarif", "threat"]
