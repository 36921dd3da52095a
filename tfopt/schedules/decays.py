"""Schedules that fall by one formula: exponential, inverse-time, linear and polynomial decay."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.serialization import number
from tfopt.schedules.arguments import flag
from tfopt.schedules.arithmetic import whole
from tfopt.schedules.base import Formula, built_in


@built_in
class ExponentialDecay(Formula):
    r"""Exponential decay of the learning rate: a constant factor every so many steps.

    $$\eta_t = \eta_0 \, r^{t / T}$$

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        decay_steps: T, > 0, in steps.
        decay_rate: r, the factor after T steps, > 0; below 1 the rate falls. Unitless.
        staircase: whether to round t / T down, so that the rate falls once every T steps.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range.

    >>> schedule = ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
    >>> [float(schedule(step)) for step in (0, 10, 20)]
    [0.1, 0.05, 0.025]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "ExponentialDecay",
    ):
        super().__init__(initial_learning_rate, name)
        self.decay_steps = number("decay_steps", decay_steps, above=0)
        self.decay_rate = number("decay_rate", decay_rate, above=0)
        self.staircase = flag("staircase", staircase)

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.decay_steps
        periods = tf.cast(whole(periods) if self.staircase else periods, rate.dtype)
        return rate * self.decay_rate**periods


@built_in
class InverseTimeDecay(Formula):
    r"""Inverse-time decay: the learning rate is divided by a linear function of the step.

    $$\eta_t = \frac{\eta_0}{1 + r \, t / T}$$

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        decay_steps: T, > 0, in steps.
        decay_rate: r, by how much the divisor grows in T steps, >= 0. Unitless.
        staircase: whether to round t / T down, so that the rate falls once every T steps.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range.

    >>> schedule = InverseTimeDecay(0.1, decay_steps=10, decay_rate=1.0)
    >>> [float(schedule(step)) for step in (0, 10, 30)]
    [0.1, 0.05, 0.025]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = "InverseTimeDecay",
    ):
        super().__init__(initial_learning_rate, name)
        self.decay_steps = number("decay_steps", decay_steps, above=0)
        self.decay_rate = number("decay_rate", decay_rate, low=0)
        self.staircase = flag("staircase", staircase)

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.decay_steps
        periods = tf.cast(whole(periods) if self.staircase else periods, rate.dtype)
        return rate / (1 + self.decay_rate * periods)


@built_in
class LinearDecay(Formula):
    r"""Linear decay of the learning rate, by default to 0.

    $$\eta_t = \eta_0 + (\eta_T - \eta_0) \, \frac{\min(t, T)}{T}$$

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        decay_steps: T, > 0, in steps.
        end_learning_rate: $\eta_T$, >= 0; the rate after T steps.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range.

    >>> schedule = LinearDecay(0.1, decay_steps=10)
    >>> [float(schedule(step)) for step in (0, 5, 10, 20)]
    [0.1, 0.05, 0.0, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: float,
        end_learning_rate: float = 0.0,
        name: str | None = "LinearDecay",
    ):
        super().__init__(initial_learning_rate, name)
        self.decay_steps = number("decay_steps", decay_steps, above=0)
        self.end_learning_rate = number("end_learning_rate", end_learning_rate, low=0)

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        remaining = tf.cast(tf.maximum(1 - step / self.decay_steps, 0), rate.dtype)
        return self.end_learning_rate + (rate - self.end_learning_rate) * remaining


@built_in
class PolynomialDecay(Formula):
    r"""Polynomial or linear decay from one learning rate to another.

    $$\eta_t = (\eta_0 - \eta_T) \left(1 - \frac{\min(t, T)}{T}\right)^p + \eta_T$$

    With `cycle`, t is not cut at T; T grows to its first multiple that is not below t.

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        decay_steps: T, > 0, in steps.
        end_learning_rate: $\eta_T$, >= 0; the rate after T steps.
        power: p, >= 0, unitless; 1 is a straight line.
        cycle: whether to start again after T steps, each time over a longer period.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range.

    >>> schedule = PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.02)
    >>> [float(schedule(step)) for step in (0, 5, 10, 20)]
    [0.1, 0.06, 0.02, 0.02]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str | None = "PolynomialDecay",
    ):
        super().__init__(initial_learning_rate, name)
        self.decay_steps = number("decay_steps", decay_steps, above=0)
        self.end_learning_rate = number("end_learning_rate", end_learning_rate, low=0)
        self.power = number("power", power, low=0)
        self.cycle = flag("cycle", cycle)

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.decay_steps
        if self.cycle:
            periods /= tf.maximum(-whole(-periods), 1)
        remaining = tf.cast(tf.maximum(1 - periods, 0), rate.dtype)
        return (rate - self.end_learning_rate) * remaining**self.power + self.end_learning_rate
