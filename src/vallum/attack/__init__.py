"""Room `attack`: measured attacks on any predictor; a failed attack is never robustness."""

from vallum.attack.evasion import EvasionReport, hop_skip_jump
from vallum.attack.gate import AttackReport
from vallum.attack.membership import MembershipReport, loss_threshold
from vallum.attack.predictor import OnnxPredictor, Predictor

__all__ = [
    "AttackReport",
    "EvasionReport",
    "MembershipReport",
    "OnnxPredictor",
    "Predictor",
    "hop_skip_jump",
    "loss_threshold",
]
