"""Room `attack`: measured attacks on any predictor; a failed attack is never robustness."""

from vallum.attack.evasion import EvasionReport, Norm, hop_skip_jump
from vallum.attack.gate import AttackReport, attack_tabular
from vallum.attack.membership import MembershipReport, loss_threshold
from vallum.attack.poison import GENERATORS, Poisoned
from vallum.attack.predictor import OnnxPredictor, Predictor, Scored, pack_rows

__all__ = [
    "GENERATORS",
    "AttackReport",
    "EvasionReport",
    "MembershipReport",
    "Norm",
    "OnnxPredictor",
    "Poisoned",
    "Predictor",
    "Scored",
    "attack_tabular",
    "hop_skip_jump",
    "loss_threshold",
    "pack_rows",
]
