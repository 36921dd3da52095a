"""Learning-rate schedules: cosine decay, exponential decay, piecewise constant and others.

A schedule is called with the step, counted from 0, and returns the learning rate. It works
eagerly, in a `tf.function`, under XLA and in a v1 graph. The rate is float32, unless the initial
rate is a tensor or NumPy value of another float dtype.
"""

from __future__ import annotations

from tfopt.schedules.base import BUILT_IN, LearningRateSchedule
from tfopt.schedules.cosine import CosineDecay, CosineDecayRestarts
from tfopt.schedules.decays import ExponentialDecay, InverseTimeDecay, PolynomialDecay
from tfopt.schedules.piecewise import PiecewiseConstantDecay
from tfopt.schedules.serialization import (
    deserialize,
    deserialize_any,
    serialize,
    serialize_any,
)

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "deserialize_any",
    "serialize",
    "serialize_any",
]

SCHEDULES: tuple[type[LearningRateSchedule], ...] = tuple(BUILT_IN.values())
