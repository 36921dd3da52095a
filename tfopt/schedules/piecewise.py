"""Piecewise constant learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfopt._libraries.serialization import number
from tfopt.schedules.arguments import list_of, rate_of
from tfopt.schedules.arithmetic import float_dtype
from tfopt.schedules.base import LearningRateSchedule, built_in


@built_in
class PiecewiseConstantDecay(LearningRateSchedule):
    r"""Piecewise constant learning rate: one value for each interval of steps.

    $$\eta_t = v_k, \quad k = \#\{i : b_i < t\}$$

    Args:
        boundaries: $b_i$, the last step of each interval but the last, strictly
            increasing, in steps.
        values: $v_k$, the rates, each >= 0; one more than there are boundaries. If the
            first is a tensor or array, the rate takes its float dtype.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range, or the numbers of elements do not fit.

    >>> schedule = PiecewiseConstantDecay([10, 20], [0.1, 0.05, 0.01])
    >>> [float(schedule(step)) for step in (10, 11, 100)]
    [0.1, 0.05, 0.01]
    """

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[Any],
        name: str | None = "PiecewiseConstant",
    ):
        self.boundaries = [number("boundaries", b) for b in list_of("boundaries", boundaries)]
        self.values = [rate_of("values", value) for value in list_of("values", values)]
        self.name = name
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"`boundaries` must be strictly increasing; got {boundaries!r}.")
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                "`values` must have one element more than `boundaries`; "
                f"got {len(self.values)} and {len(self.boundaries)}: {values!r}, {boundaries!r}."
            )

    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape.

        Returns:
            The rate as a tensor of the shape of `step`.
        """
        dtype = float_dtype(self.values[0])
        with tf.name_scope(self.name or "PiecewiseConstant"):
            values = tf.stack([tf.cast(value, dtype) for value in self.values])
            # In float64, which holds every step and boundary up to 2**53 exactly.
            boundaries = tf.constant(self.boundaries, tf.float64)
            passed = tf.cast(step, tf.float64)[..., tf.newaxis] > boundaries
            return tf.gather(values, tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1))
