"""The base classes of schedules, and the table of those that tfopt brings."""

from __future__ import annotations

import abc
from typing import Any, TypeVar

import tensorflow as tf

from tfopt._libraries.keras import SCHEDULES as BASES
from tfopt._libraries.keras import register
from tfopt._libraries.serialization import Described
from tfopt.schedules.arguments import rate_of
from tfopt.schedules.arithmetic import float_dtype, wide_dtype

# Configs and pickles name this module, whichever file a class is in.
MODULE = "tfopt.schedules"


class LearningRateSchedule(Described, *BASES, abc.ABC):  # type: ignore[misc]
    """Base class of learning rate schedules: override `__call__`.

    The config consists of the constructor's arguments, which are read from attributes of the same
    names. Override `get_config` if you keep them in another way.

    >>> class Halving(LearningRateSchedule):
    ...     def __init__(self, start):
    ...         self.start = start
    ...     def __call__(self, step):
    ...         return self.start * 0.5 ** tf.cast(step, tf.float32)
    >>> float(Halving(0.1)(2))
    0.025
    >>> Halving(0.1)
    Halving(start=0.1)
    """

    __module__ = MODULE

    @abc.abstractmethod
    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape.

        Returns:
            The rate as a tensor of the shape of `step`.
        """


Schedule = TypeVar("Schedule", bound=type[LearningRateSchedule])
BUILT_IN: dict[str, type[LearningRateSchedule]] = {}  # by name


def built_in(cls: Schedule) -> Schedule:
    """Makes a class one of tfopt's schedules, which `deserialize` and Keras find by name."""
    cls.__module__ = MODULE
    BUILT_IN[cls.__name__] = cls
    register(cls)
    return cls


class Formula(LearningRateSchedule):
    """Base class of the schedules that are one formula of a rate and the step."""

    _rate_argument = "initial_learning_rate"  # whose float dtype the schedule has

    def __init__(self, rate: Any, name: str | None):
        setattr(self, self._rate_argument, rate_of(self._rate_argument, rate))
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape.

        Returns:
            The rate as a tensor of the shape of `step`.
        """
        given = getattr(self, self._rate_argument)
        dtype = float_dtype(given)
        with tf.name_scope(self.name or type(self).__name__):
            rate = tf.cast(given, wide_dtype(dtype))
            return tf.cast(self._formula(rate, tf.cast(step, tf.float64)), dtype)

    @abc.abstractmethod
    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Computes the formula.

        Args:
            rate: the value of `_rate_argument`, float32 or float64.
            step: the step in float64, which counts far and exactly. Cast what you compute from it
                to the dtype of `rate`.
        """
