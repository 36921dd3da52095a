"""Optimizers written for OptimizerV2, on tfopt's engine: change the base class, keep the rest.

`Optimizer` stands in for `tf_keras.optimizers.legacy.Optimizer`, and the other eight for
theirs. Subclasses' underscore hooks are called with what OptimizerV2 gives them, in its order.
What subclasses may rely on is listed in docs/legacy.md.
"""

from __future__ import annotations

from tfopt.legacy._eight import SGD, Adadelta, Adagrad, Adam, Adamax, Ftrl, Nadam, RMSprop
from tfopt.legacy._optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "Adamax",
    "Ftrl",
    "Nadam",
    "Optimizer",
    "RMSprop",
]
