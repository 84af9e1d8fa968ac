"""Room `attack`: measured attacks on any predictor; a failed attack is never robustness."""

from vallum.attack.apgd import apgd, apgd_targeted
from vallum.attack.attribute import AttributeReport, infer_attribute
from vallum.attack.boundary import boundary
from vallum.attack.canary import ExposureReport, canary_exposure, make_canaries
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
from vallum.attack.evasion import EvasionReport, NearestFlips, Norm, hop_skip_jump, nearest_flips
from vallum.attack.extraction import (
    Extraction,
    ExtractionReport,
    FidelityPoint,
    copycat,
    jacobian_augmentation,
    knock_off,
)
from vallum.attack.fab import fab
from vallum.attack.gradient import fgsm, pgd
from vallum.attack.inversion import Inversion, InversionReport, invert_classes
from vallum.attack.lira import likelihood_ratio
from vallum.attack.membership import (
    MembershipReport,
    Trainer,
    calibrated,
    label_only,
    loss_threshold,
    population,
)
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
from vallum.attack.space import Space, scaled
from vallum.attack.square import square
from vallum.attack.surrogate import Surrogate
from vallum.attack.text import TextAttack, TextPredictor, word_bugs
from vallum.attack.thresholds import Splits, cross_thresholds
from vallum.attack.transfer import momentum_transfer
from vallum.attack.treepath import Boxes, find_paths
from vallum.attack.trigger import InvertedTrigger, TriggerInversion, invert_triggers

__all__ = [
    "GENERATORS",
    "AnswerKind",
    "AttackUse",
    "Attacked",
    "AttributeReport",
    "Boxes",
    "Clip",
    "Ensemble",
    "EnsembleReport",
    "EvasionReport",
    "ExposureReport",
    "Extraction",
    "ExtractionReport",
    "FidelityPoint",
    "GradientPredictor",
    "Inversion",
    "InversionReport",
    "InvertedTrigger",
    "Known",
    "LinearModel",
    "Loss",
    "LossGradient",
    "MembershipReport",
    "NearestFlips",
    "Norm",
    "OnnxPredictor",
    "Outcome",
    "Poisoned",
    "Predictor",
    "Rate",
    "Schedule",
    "Scored",
    "Separation",
    "Space",
    "Splits",
    "Status",
    "Surrogate",
    "TextAttack",
    "TextPredictor",
    "TorchPredictor",
    "Trainer",
    "TriggerInversion",
    "apgd",
    "apgd_targeted",
    "boundary",
    "calibrated",
    "canary_exposure",
    "copycat",
    "cross_thresholds",
    "ensemble",
    "fab",
    "fgsm",
    "find_paths",
    "hop_skip_jump",
    "infer_attribute",
    "invert_classes",
    "invert_triggers",
    "jacobian_augmentation",
    "knock_off",
    "label_only",
    "likelihood_ratio",
    "loss_threshold",
    "make_canaries",
    "momentum_transfer",
    "nearest_flips",
    "pack_rows",
    "pgd",
    "population",
    "scaled",
    "simba",
    "solve_equations",
    "square",
    "word_bugs",
]
