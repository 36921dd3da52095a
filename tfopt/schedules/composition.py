"""Schedules of schedules: a warmup before any schedule, and several schedules in sequence."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfopt._libraries.keras import SCHEDULES as BASES
from tfopt._libraries.serialization import as_call, decode, number
from tfopt.schedules.arguments import list_of, rate_of
from tfopt.schedules.arithmetic import float_dtype, wide_dtype
from tfopt.schedules.base import LearningRateSchedule, built_in
from tfopt.schedules.serialization import deserialize_any, serialize_any


class Composition(LearningRateSchedule):
    """Base class of schedules that have schedules as arguments, and their configs in their config.

    A step is split at boundaries. Integer steps stay integers where the boundaries are whole
    numbers, since schedules of yours may need that.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the configs of schedules."""
        return {name: _written(value) for name, value in super().get_config().items()}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Any:
        """Makes an instance from what `get_config` returned.

        Args:
            config: what `get_config` returned.
            custom_objects: classes by name, for schedules in the config that are neither tfopt's
                nor registered with Keras.

        Raises:
            ValueError: if `config` does not fit the constructor, or a value is not allowed.
        """
        config = {name: _read(value, custom_objects) for name, value in decode(config).items()}
        return super().from_config(config)

    def __repr__(self) -> str:
        return as_call(self, super().get_config())


@built_in
class Warmup(Composition):
    r"""Linear warmup before another learning rate schedule.

    $$\eta_t = \eta_0 + (s_0 - \eta_0) \, t / W \quad (t < W), \qquad
    \eta_t = s_{t - W} \quad (t \ge W)$$

    where $s_t$ is the rate of the schedule that follows. That schedule begins at its step 0 when
    the warmup has ended, so none of it is lost: a decay over T steps ends at step W + T.

    Args:
        schedule: s, the schedule that follows, of tfopt, Keras 3 or tf-keras; or its rate, >= 0,
            if that is constant. The rate takes its float dtype.
        warmup_steps: W, >= 0, in steps; 0 for no warmup.
        initial_learning_rate: $\eta_0$, >= 0; the rate at step 0, if there is a warmup.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range, or there is an initial rate and no warmup.

    Source: Goyal et al. (2017), "Accurate, Large Minibatch SGD",
    https://arxiv.org/abs/1706.02677

    >>> schedule = Warmup(LinearDecay(0.1, decay_steps=10), warmup_steps=4)
    >>> [float(schedule(step)) for step in (0, 2, 4, 9, 14)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    >>> [float(Warmup(0.1, 4, 0.02)(step)) for step in (0, 2, 4, 100)]
    [0.02, 0.06, 0.1, 0.1]
    """

    def __init__(
        self,
        schedule: Any,
        warmup_steps: float,
        initial_learning_rate: float = 0.0,
        name: str | None = "Warmup",
    ):
        self.schedule = _schedule_or_rate("schedule", schedule)
        self.warmup_steps = number("warmup_steps", warmup_steps, low=0)
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate, low=0)
        self.name = name
        if initial_learning_rate and not warmup_steps:
            raise ValueError(
                "`initial_learning_rate` must be 0 where `warmup_steps` is 0: it would have no "
                f"effect; got {initial_learning_rate!r}."
            )

    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape that the schedule takes.

        Returns:
            The rate as a tensor of the shape of `step`.
        """
        with tf.name_scope(self.name or "Warmup"):
            rate = _rate_at(self.schedule, _steps_after(self.warmup_steps, step))
            step = tf.cast(step, tf.float64)
            wide = tf.cast(rate, wide_dtype(rate.dtype))
            warmth = tf.cast(step / (self.warmup_steps or 1), wide.dtype)
            warm = self.initial_learning_rate + (wide - self.initial_learning_rate) * warmth
            return tf.where(step < self.warmup_steps, tf.cast(warm, rate.dtype), rate)


@built_in
class Sequence(Composition):
    r"""Several learning rate schedules in sequence, each from its own step 0.

    $$\eta_t = s^k_{t - b_k}, \quad b_k \le t < b_{k + 1}$$

    where $s^k$ is schedule number k, and $b_0 = 0$. A boundary is the first step of a schedule, as
    in PyTorch's `SequentialLR` and Optax' `join_schedules`. (In `PiecewiseConstantDecay`, as in
    Keras, a boundary is the last step with the old value.)

    Args:
        schedules: $s^k$, of tfopt, Keras 3 or tf-keras; or rates, >= 0, where they are constant.
            The rate takes the float dtype of the first.
        boundaries: $b_1, b_2, \dots$, > 0 and strictly increasing, in steps; one fewer than there
            are schedules.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range, or the numbers of elements do not fit.

    >>> schedule = Sequence([0.1, LinearDecay(0.1, 10), 0.02], boundaries=[5, 13])
    >>> [float(schedule(step)) for step in (0, 4, 5, 10, 12, 13)]
    [0.1, 0.1, 0.1, 0.05, 0.03, 0.02]
    """

    def __init__(
        self,
        schedules: collections.abc.Sequence[Any],
        boundaries: collections.abc.Sequence[float],
        name: str | None = "Sequence",
    ):
        self.schedules = [
            _schedule_or_rate("schedules", each) for each in list_of("schedules", schedules)
        ]
        self.boundaries = [
            number("boundaries", each, above=0) for each in list_of("boundaries", boundaries)
        ]
        self.name = name
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"`boundaries` must be strictly increasing; got {boundaries!r}.")
        if len(self.schedules) != len(self.boundaries) + 1:
            raise ValueError(
                "`schedules` must have one element more than `boundaries`; got "
                f"{len(self.schedules)} and {len(self.boundaries)}: {schedules!r}, {boundaries!r}."
            )

    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape that the schedules take.

        Returns:
            The rate as a tensor of the shape of `step`.
        """
        with tf.name_scope(self.name or "Sequence"):
            exact = tf.cast(step, tf.float64)
            first = _rate_at(self.schedules[0], step)
            rate = first + tf.zeros_like(exact, first.dtype)  # of the shape of `step`
            for schedule, boundary in zip(self.schedules[1:], self.boundaries, strict=True):
                next_rate = _rate_at(schedule, _steps_after(boundary, step))
                rate = tf.where(exact >= boundary, tf.cast(next_rate, rate.dtype), rate)
            return rate


def _is_schedule(value: Any) -> bool:
    return isinstance(value, BASES)


def _schedule_or_rate(name: str, value: Any) -> Any:
    """Returns a schedule or a rate as it was given; raises if it is neither."""
    if _is_schedule(value):
        return value
    try:
        return rate_of(name, value)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a learning rate schedule or a finite number >= 0; got {value!r}."
        ) from error


def _rate_at(schedule: Any, step: Any) -> tf.Tensor:
    """Returns the rate of a schedule at a step, or a rate that is constant, in a float dtype."""
    rate = schedule(step) if _is_schedule(schedule) else schedule
    return tf.cast(rate, float_dtype(rate))


def _steps_after(boundary: float, step: Any) -> tf.Tensor:
    """Returns how many steps were taken since a boundary, 0 before it."""
    step = tf.convert_to_tensor(step)
    whole = step.dtype.is_integer and float(boundary).is_integer()
    dtype = tf.int64 if whole else tf.float64
    return tf.maximum(tf.cast(step, dtype) - tf.cast(boundary, dtype), 0)


def _each(function: Callable[[Any], Any], value: Any) -> Any:
    return [function(each) for each in value] if isinstance(value, list) else function(value)


def _written(value: Any) -> Any:
    def write(each: Any) -> Any:
        return serialize_any(each) if _is_schedule(each) else each

    return _each(write, value)


def _read(value: Any, custom_objects: Mapping[str, Any] | None) -> Any:
    def read(each: Any) -> Any:
        return deserialize_any(each, custom_objects) if isinstance(each, Mapping) else each

    return _each(read, value)
