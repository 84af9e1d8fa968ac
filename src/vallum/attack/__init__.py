"""Room `attack`: measured attacks on any predictor; a failed attack is never robustness."""

from vallum.attack.evasion import EvasionReport, Norm, hop_skip_jump
from vallum.attack.gate import AttackReport, attack_tabular
from vallum.attack.membership import MembershipReport, loss_threshold
from vallum.attack.predictor import OnnxPredictor, Predictor

__all__ = [
    "AttackReport",
    "EvasionReport",
    "MembershipReport",
    "Norm",
    "OnnxPredictor",
    "Predictor",
    "attack_tabular",
    "hop_skip_jump",
    "loss_threshold",
]
