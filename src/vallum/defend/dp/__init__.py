"""Training under differential privacy: clipped gradients, noise from a cipher, a known cost.

`vallum.defend.dp.modules` holds layers to use where torch's own cannot be trained privately; it
imports torch, and nothing here imports torch, jax or keras before a training is made.
"""

from vallum.defend.dp.api import make_private, make_private_jax, make_private_keras, train
from vallum.defend.dp.boosting import BoostedTrees
from vallum.defend.dp.kernels import steady
from vallum.defend.dp.linear import LinearRegression, LogisticRegression
from vallum.defend.dp.spend import Accountant, Spend, epsilon_of, leave_report, noise_multiplier_of

steady()  # before anybody computes anything

__all__ = [
    "Accountant",
    "BoostedTrees",
    "LinearRegression",
    "LogisticRegression",
    "Spend",
    "epsilon_of",
    "leave_report",
    "make_private",
    "make_private_jax",
    "make_private_keras",
    "noise_multiplier_of",
    "train",
]
