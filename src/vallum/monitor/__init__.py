"""Room `monitor`: statistics over windows, in constant memory."""

from vallum.monitor.canary import MAX_CANARIES, Canaries
from vallum.monitor.drift import BinState, DriftCounter, DriftReport, FeatureDrift, freeze
from vallum.monitor.evasion import (
    EvasionAlarm,
    EvasionProfile,
    EvasionWatch,
    Sign,
    learn_evasion,
)
from vallum.monitor.extraction import (
    ExtractionAlarm,
    ExtractionProfile,
    Statistic,
    Watches,
    learn_profile,
)
from vallum.monitor.profile import CanaryRecords, WatchProfile

__all__ = [
    "MAX_CANARIES",
    "BinState",
    "Canaries",
    "CanaryRecords",
    "DriftCounter",
    "DriftReport",
    "EvasionAlarm",
    "EvasionProfile",
    "EvasionWatch",
    "ExtractionAlarm",
    "ExtractionProfile",
    "FeatureDrift",
    "Sign",
    "Statistic",
    "WatchProfile",
    "Watches",
    "freeze",
    "learn_evasion",
    "learn_profile",
]
