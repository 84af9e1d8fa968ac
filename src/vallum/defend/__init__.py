"""Room `defend`: find what was done to data, and make models harder to attack."""

from vallum.defend.poisoning import Detection, Scorer, detect_poisoning

__all__ = ["Detection", "Scorer", "detect_poisoning"]
