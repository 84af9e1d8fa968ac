"""Room `monitor`: statistics over windows, in constant memory."""

from vallum.monitor.drift import BinState, DriftCounter, DriftReport, FeatureDrift, freeze
from vallum.monitor.extraction import (
    ExtractionAlarm,
    ExtractionProfile,
    Statistic,
    Watches,
    learn_profile,
)

__all__ = [
    "BinState",
    "DriftCounter",
    "DriftReport",
    "ExtractionAlarm",
    "ExtractionProfile",
    "FeatureDrift",
    "Statistic",
    "Watches",
    "freeze",
    "learn_profile",
]
