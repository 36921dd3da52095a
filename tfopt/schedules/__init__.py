"""Learning rate schedules: warmup, cosine decay, one cycle, warmup-stable-decay and others.

A schedule is called with the step, counted from 0, and returns the learning rate. It works
eagerly, in a `tf.function`, under XLA and in a v1 graph. The rate is float32, unless the initial
rate is a tensor or NumPy value of another float dtype.

`Warmup` and `Sequence` make a schedule of other schedules, which may be of tfopt, Keras 3 or
tf-keras.
"""

from __future__ import annotations

from tfopt.schedules.base import BUILT_IN, LearningRateSchedule
from tfopt.schedules.composition import Sequence, Warmup
from tfopt.schedules.cosine import CosineDecay, CosineDecayRestarts
from tfopt.schedules.cycles import Cyclic, OneCycle
from tfopt.schedules.decays import (
    ExponentialDecay,
    InverseTimeDecay,
    LinearDecay,
    PolynomialDecay,
)
from tfopt.schedules.piecewise import PiecewiseConstantDecay
from tfopt.schedules.serialization import (
    deserialize,
    deserialize_any,
    serialize,
    serialize_any,
)
from tfopt.schedules.warmup_stable_decay import WarmupStableDecay

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "Cyclic",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "LinearDecay",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "Sequence",
    "Warmup",
    "WarmupStableDecay",
    "deserialize",
    "deserialize_any",
    "serialize",
    "serialize_any",
]

SCHEDULES: tuple[type[LearningRateSchedule], ...] = tuple(BUILT_IN.values())
