"""Optimizers for TensorFlow, each a `tf.Module`.

Every optimizer works in `model.compile` of Keras 3 and of tf-keras, in a `tf.function` loop of
your own, and unchanged under `tf.distribute`.
"""

from tfopt import (
    evaluation,
    functional,
    groups,
    initializers,
    inspect,
    legacy,
    optimizers,
    schedules,
)
from tfopt._libraries.warnings import TfoptWarning
from tfopt._values.initial_values import copy, full, zeros
from tfopt.conversion import convert
from tfopt.hyper import Alias, Hyper, Static
from tfopt.optimizer import Optimizer
from tfopt.registry import deserialize, get, register, serialize
from tfopt.wrappers import v1 as _v1  # which `get` makes of optimizers of TensorFlow 1
from tfopt.wrappers.lookahead import Lookahead
from tfopt.wrappers.loss_scale import LossScaleOptimizer
from tfopt.wrappers.multi_optimizer import MultiOptimizer, OptimizerMap
from tfopt.wrappers.swa import SWA
from tfopt.wrappers.wrapper import Wrapper

__version__ = "0.1.0"
__all__ = [
    "Alias",
    "Hyper",
    "Lookahead",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Optimizer",
    "OptimizerMap",
    "SWA",
    "Static",
    "TfoptWarning",
    "Wrapper",
    "convert",
    "copy",
    "deserialize",
    "evaluation",
    "full",
    "functional",
    "get",
    "groups",
    "initializers",
    "inspect",
    "legacy",
    "optimizers",
    "register",
    "schedules",
    "serialize",
    "zeros",
]
del _v1
__all__ += [*optimizers.__all__, "Lamb", "RAdam"]
globals().update({name: getattr(optimizers, name) for name in optimizers.__all__})
Lamb, RAdam = optimizers.Lamb, optimizers.RAdam


def __dir__() -> list[str]:
    return [*__all__, "__version__"]  # as in `__init__.pyi`, which tests/stubs.py makes
