"""Base classes for optimizers written for OptimizerV2 (`tf.keras.optimizers.legacy`).

Change the base class of such an optimizer, and keep the rest. `Optimizer` replaces
`tf_keras.optimizers.legacy.Optimizer`, and the eight others replace theirs. The hooks of
subclasses, which begin with an underscore, are called with OptimizerV2's arguments, in its order.
docs/legacy.md lists what subclasses may rely on.
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
