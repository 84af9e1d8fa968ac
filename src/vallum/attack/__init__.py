"""Room `attack`: measured attacks on any predictor; a failed attack is never robustness."""

from vallum.attack.apgd import apgd, apgd_targeted
from vallum.attack.ensemble import (
    AttackUse,
    Ensemble,
    EnsembleReport,
    Outcome,
    Schedule,
    Status,
    ensemble,
)
from vallum.attack.evasion import EvasionReport, NearestFlips, Norm, hop_skip_jump, nearest_flips
from vallum.attack.fab import fab
from vallum.attack.gate import AttackReport, attack_tabular
from vallum.attack.gradient import fgsm, pgd
from vallum.attack.membership import MembershipReport, loss_threshold
from vallum.attack.module import TorchPredictor
from vallum.attack.poison import GENERATORS, Poisoned
from vallum.attack.predictor import (
    GradientPredictor,
    Loss,
    LossGradient,
    OnnxPredictor,
    Predictor,
    Scored,
    pack_rows,
)
from vallum.attack.search import Attacked, Clip
from vallum.attack.simba import simba
from vallum.attack.space import Space, scaled
from vallum.attack.square import square

__all__ = [
    "GENERATORS",
    "AttackReport",
    "AttackUse",
    "Attacked",
    "Clip",
    "Ensemble",
    "EnsembleReport",
    "EvasionReport",
    "GradientPredictor",
    "Loss",
    "LossGradient",
    "MembershipReport",
    "NearestFlips",
    "Norm",
    "OnnxPredictor",
    "Outcome",
    "Poisoned",
    "Predictor",
    "Schedule",
    "Scored",
    "Space",
    "Status",
    "TorchPredictor",
    "apgd",
    "apgd_targeted",
    "attack_tabular",
    "ensemble",
    "fab",
    "fgsm",
    "hop_skip_jump",
    "loss_threshold",
    "nearest_flips",
    "pack_rows",
    "pgd",
    "scaled",
    "simba",
    "square",
]
