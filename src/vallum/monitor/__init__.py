"""Room `monitor`: statistics over windows, in constant memory."""

from vallum.monitor.drift import BinState, DriftCounter, DriftReport, FeatureDrift, freeze

__all__ = ["BinState", "DriftCounter", "DriftReport", "FeatureDrift", "freeze"]
