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
from vallum.attack.equation import LinearModel, solve_equations
from vallum.attack.evasion import EvasionReport, Norm, hop_skip_jump
from vallum.attack.extraction import (
    Extraction,
    ExtractionReport,
    FidelityPoint,
    copycat,
    jacobian_augmentation,
    knock_off,
)
from vallum.attack.fab import fab
from vallum.attack.gate import AttackReport, attack_tabular
from vallum.attack.gradient import fgsm, pgd
from vallum.attack.membership import MembershipReport, loss_threshold
from vallum.attack.module import TorchPredictor
from vallum.attack.oracle import AnswerKind, Known
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
from vallum.attack.rates import Rate, Separation
from vallum.attack.search import Attacked, Clip
from vallum.attack.simba import simba
from vallum.attack.square import square
from vallum.attack.surrogate import Surrogate
from vallum.attack.treepath import Boxes, find_paths

__all__ = [
    "GENERATORS",
    "AnswerKind",
    "AttackReport",
    "AttackUse",
    "Attacked",
    "Boxes",
    "Clip",
    "Ensemble",
    "EnsembleReport",
    "EvasionReport",
    "Extraction",
    "ExtractionReport",
    "FidelityPoint",
    "GradientPredictor",
    "Known",
    "LinearModel",
    "Loss",
    "LossGradient",
    "MembershipReport",
    "Norm",
    "OnnxPredictor",
    "Outcome",
    "Poisoned",
    "Predictor",
    "Rate",
    "Schedule",
    "Scored",
    "Separation",
    "Status",
    "Surrogate",
    "TorchPredictor",
    "apgd",
    "apgd_targeted",
    "attack_tabular",
    "copycat",
    "ensemble",
    "fab",
    "fgsm",
    "find_paths",
    "hop_skip_jump",
    "jacobian_augmentation",
    "knock_off",
    "loss_threshold",
    "pack_rows",
    "pgd",
    "simba",
    "solve_equations",
    "square",
]
