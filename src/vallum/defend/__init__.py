"""Room `defend`: find what was done to data, and make models harder to attack."""

from vallum.defend.activations import hidden_activations
from vallum.defend.effect import Effect, Measured, effect
from vallum.defend.outputs import HardenedModel, Hardening
from vallum.defend.poisoning import Detection, Scorer, detect_poisoning
from vallum.defend.quarantine import (
    Quarantine,
    Quarantined,
    Retrained,
    quarantine,
    retrain_and_compare,
)
from vallum.defend.robust import RobustTraining, train_robust
from vallum.defend.smoothing import Certified, SmoothedModel, SqueezedModel, certify
from vallum.defend.traces import Traced, trace_labels

__all__ = [
    "Certified",
    "Detection",
    "Effect",
    "HardenedModel",
    "Hardening",
    "Measured",
    "Quarantine",
    "Quarantined",
    "Retrained",
    "RobustTraining",
    "Scorer",
    "SmoothedModel",
    "SqueezedModel",
    "Traced",
    "certify",
    "detect_poisoning",
    "effect",
    "hidden_activations",
    "quarantine",
    "retrain_and_compare",
    "trace_labels",
    "train_robust",
]
