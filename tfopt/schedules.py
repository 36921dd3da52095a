"""Learning-rate schedules: cosine decay, exponential decay, piecewise constant and others.

A schedule is called with the step, counted from 0, and returns the learning rate. It works
eagerly, in a `tf.function`, under XLA and in a v1 graph. The rate is float32, unless the initial
rate is a tensor or NumPy value of another float dtype.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfopt._libraries.keras import SCHEDULES as BASES
from tfopt._libraries.keras import register, registered
from tfopt._libraries.serialization import Described, describe, number, recover


class LearningRateSchedule(Described, *BASES, abc.ABC):  # type: ignore[misc]
    """Base class of learning-rate schedules: override `__call__`.

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

    @abc.abstractmethod
    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape.

        Returns:
            The rate as a tensor of the shape of `step`.
        """


class _Decay(LearningRateSchedule):
    """Base class of the schedules that are one formula of an initial rate and the step."""

    def __init__(self, initial_learning_rate: Any, name: str | None):
        self.initial_learning_rate = _rate("initial_learning_rate", initial_learning_rate)
        self.name = name

    def __call__(self, step: Any) -> tf.Tensor:
        """Computes the learning rate.

        Args:
            step: how many steps were taken, >= 0: a number, tensor or variable. It may have any
                shape.

        Returns:
            The rate as a tensor of the shape of `step`.
        """
        dtype = _float_dtype(self.initial_learning_rate)
        wide = tf.float64 if dtype == tf.float64 else tf.float32
        with tf.name_scope(self.name or type(self).__name__):
            rate = tf.cast(self.initial_learning_rate, wide)
            return tf.cast(self._decay(rate, tf.cast(step, tf.float64)), dtype)

    @abc.abstractmethod
    def _decay(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Computes the formula.

        Args:
            rate: the initial rate, float32 or float64.
            step: the step in float64, which counts far and exactly. Cast what you compute from it
                to the dtype of `rate`.
        """


class ExponentialDecay(_Decay):
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
        self.staircase = _flag("staircase", staircase)

    def _decay(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.decay_steps
        periods = tf.cast(_whole(periods) if self.staircase else periods, rate.dtype)
        return rate * self.decay_rate**periods


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
        self.boundaries = [number("boundaries", b) for b in _list("boundaries", boundaries)]
        self.values = [_rate("values", value) for value in _list("values", values)]
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
        dtype = _float_dtype(self.values[0])
        with tf.name_scope(self.name or "PiecewiseConstant"):
            values = tf.stack([tf.cast(value, dtype) for value in self.values])
            # In float64, which holds every step and boundary up to 2**53 exactly.
            boundaries = tf.constant(self.boundaries, tf.float64)
            passed = tf.cast(step, tf.float64)[..., tf.newaxis] > boundaries
            return tf.gather(values, tf.reduce_sum(tf.cast(passed, tf.int32), axis=-1))


class PolynomialDecay(_Decay):
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
        self.cycle = _flag("cycle", cycle)

    def _decay(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.decay_steps
        if self.cycle:
            periods /= tf.maximum(-_whole(-periods), 1)
        remaining = tf.cast(tf.maximum(1 - periods, 0), rate.dtype)
        return (rate - self.end_learning_rate) * remaining**self.power + self.end_learning_rate


class InverseTimeDecay(_Decay):
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
        self.staircase = _flag("staircase", staircase)

    def _decay(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.decay_steps
        periods = tf.cast(_whole(periods) if self.staircase else periods, rate.dtype)
        return rate / (1 + self.decay_rate * periods)


class CosineDecay(_Decay):
    r"""Cosine decay of the learning rate, optionally after a linear warm-up.

    $$\eta_t = \eta_{\max} \left(\alpha + \frac{1 - \alpha}{2}
    \left(1 + \cos \frac{\pi \min(t - W, T)}{T}\right)\right)$$

    for $t \ge W$; before, $\eta_t = \eta_0 + (\eta_{\max} - \eta_0) \, t / W$. Without a
    warm-up target, W is 0 and $\eta_{\max} = \eta_0$.

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        decay_steps: T, > 0, in steps, counted from the end of the warm-up.
        alpha: $\alpha$, the last rate as a fraction of the highest, >= 0. Unitless.
        name: of the ops in a graph.
        warmup_target: $\eta_{\max}$, >= 0; `None` for no warm-up.
        warmup_steps: W, >= 0, in steps; 0 without a target.

    Raises:
        ValueError: if an argument is out of range.

    Sources: Loshchilov & Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm
    Restarts", https://arxiv.org/abs/1608.03983; for the warm-up, Goyal et al. (2017),
    "Accurate, Large Minibatch SGD", https://arxiv.org/abs/1706.02677

    >>> schedule = CosineDecay(0.0, decay_steps=10, warmup_target=0.1, warmup_steps=4)
    >>> [float(schedule(step)) for step in (0, 2, 4, 9, 14)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        decay_steps: float,
        alpha: float = 0.0,
        name: str | None = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ):
        super().__init__(initial_learning_rate, name)
        self.decay_steps = number("decay_steps", decay_steps, above=0)
        self.alpha = number("alpha", alpha, low=0)
        self.warmup_target = (
            None if warmup_target is None else number("warmup_target", warmup_target, low=0)
        )
        self.warmup_steps = number("warmup_steps", warmup_steps, low=0)
        if warmup_steps and warmup_target is None:
            raise ValueError(
                "`warmup_steps` must be 0 where `warmup_target` is None: it would have no "
                f"effect; got {warmup_steps!r}."
            )

    def _decay(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        if self.warmup_target is None:
            return rate * _half_cosine(step / self.decay_steps, self.alpha, rate.dtype)
        progress = (step - self.warmup_steps) / self.decay_steps
        decayed = self.warmup_target * _half_cosine(progress, self.alpha, rate.dtype)
        if self.warmup_steps == 0:
            return decayed
        warmth = tf.cast(step / self.warmup_steps, rate.dtype)
        warm = rate + (self.warmup_target - rate) * warmth
        return tf.where(step < self.warmup_steps, warm, decayed)


class CosineDecayRestarts(_Decay):
    r"""Cosine decay with warm restarts (SGDR): the rate falls along half a cosine, again and again.

    $$\eta_t = \eta_0 \left(\alpha + \frac{1 - \alpha}{2} \, m^i
    \left(1 + \cos \frac{\pi (t - t_i)}{T_i}\right)\right), \quad
    T_i = T_0 \, \tau^i, \quad t_i = \sum_{j < i} T_j \le t < t_{i+1}$$

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        first_decay_steps: $T_0$, > 0, in steps: the length of the first period.
        t_mul: $\tau$, >= 1, unitless: how many times longer each period is.
        m_mul: m, >= 0, unitless: how many times higher each period starts.
        alpha: $\alpha$, the lowest rate as a fraction of the initial one, >= 0. Unitless.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range.

    Source: Loshchilov & Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm
    Restarts", https://arxiv.org/abs/1608.03983

    >>> schedule = CosineDecayRestarts(0.1, first_decay_steps=10, m_mul=0.5)
    >>> [float(schedule(step)) for step in (0, 5, 10, 20, 30)]
    [0.1, 0.05, 0.05, 0.025, 0.025]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str | None = "SGDRDecay",
    ):
        super().__init__(initial_learning_rate, name)
        self.first_decay_steps = number("first_decay_steps", first_decay_steps, above=0)
        self.t_mul = number("t_mul", t_mul, low=1)
        self.m_mul = number("m_mul", m_mul, low=0)
        self.alpha = number("alpha", alpha, low=0)

    def _decay(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.first_decay_steps
        if self.t_mul == 1:
            restarts = _whole(periods)
            progress = periods - restarts
        else:
            growth = self.t_mul - 1
            restarts = _whole(tf.math.log1p(periods * growth) / math.log(self.t_mul))
            length = self.t_mul**restarts
            progress = (periods - (length - 1) / growth) / length
        height = tf.cast(self.m_mul**restarts, rate.dtype)
        return rate * _half_cosine(progress, self.alpha, rate.dtype, height)


SCHEDULES: tuple[type[LearningRateSchedule], ...] = (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)

_NAMES = {cls.__name__: cls for cls in SCHEDULES}

# A config of one of these modules means a schedule of tfopt. The modules are not imported.
_MODULES = (
    None,
    "tfopt.schedules",
    "keras.optimizers.schedules",
    "tf_keras.optimizers.schedules",
)


def serialize(schedule: LearningRateSchedule) -> dict[str, Any]:
    """Describes a schedule by a dict that JSON can hold.

    Args:
        schedule: an instance of a `LearningRateSchedule`.

    Returns:
        A dict for `deserialize`. Keras can read it too, if the class is registered with Keras.

    Raises:
        ValueError: if `schedule` is no `LearningRateSchedule`.

    >>> serialize(InverseTimeDecay(0.1, 10, 1.0))["registered_name"]
    'tfopt>InverseTimeDecay'
    """
    if not isinstance(schedule, LearningRateSchedule):
        raise ValueError(f"`schedule` must be a LearningRateSchedule; got {schedule!r}.")
    return describe(schedule, SCHEDULES)


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """Makes a schedule from its description, which tfopt, Keras 3 or tf-keras wrote.

    Only the schedules of this module and `custom_objects` are found; nothing is imported.

    Args:
        config: what `serialize` returned, here, in Keras 3 or in tf-keras.
        custom_objects: further classes by name; they come first.

    Returns:
        The schedule.

    Raises:
        ValueError: if `config` is not such a dict, or names no schedule known here.

    >>> config = {"initial_learning_rate": 0.1, "decay_steps": 10}
    >>> deserialize({"class_name": "CosineDecay", "config": config}).decay_steps
    10
    """
    return recover(config, _NAMES, _MODULES, custom_objects, "a schedule")


def serialize_any(schedule: Any) -> dict[str, Any]:
    """Returns the config of a schedule of any library."""
    if isinstance(schedule, LearningRateSchedule):
        return serialize(schedule)
    cls = type(schedule)
    built_in = cls.__module__.split(".")[0] in ("keras", "tf_keras")
    return {
        "module": "keras.optimizers.schedules" if built_in else cls.__module__,
        "class_name": cls.__name__,
        "config": schedule.get_config(),
        "registered_name": None if built_in else keras.saving.get_registered_name(cls),
    }


def deserialize_any(config: Mapping[str, Any], custom_objects: Any = None) -> Any:
    """Makes a schedule from a config: one of tfopt by name, or a class registered with Keras."""
    known = dict(custom_objects or {})
    for name in (config.get("registered_name"), config.get("class_name")):
        for cls in registered(name):
            known.setdefault(name, cls)
    schedule = deserialize(config, custom_objects=known)
    if not callable(schedule):
        raise ValueError(f"`config` must be of a learning-rate schedule; got {config!r}.")
    return schedule


def _whole(periods: tf.Tensor) -> tf.Tensor:
    """Returns the number of whole periods, from a float64 quotient or logarithm."""
    # The slack makes up for rounding: in graphs and under XLA a division by a constant
    # is a multiplication by its reciprocal, which gives 49 / 49 < 1.
    return tf.floor(periods + 1e-9)


def _half_cosine(progress: tf.Tensor, alpha: float, dtype: tf.DType, height: Any = 1) -> tf.Tensor:
    """Falls from `height` (1 - alpha) + alpha to alpha, as `progress` goes from 0 to 1."""
    angle = math.pi * tf.cast(tf.clip_by_value(progress, 0, 1), dtype)
    return (1 - alpha) * (0.5 * height * (1 + tf.cos(angle))) + alpha


def _float_dtype(value: Any) -> tf.DType:
    """Returns the dtype of a tensor or array if it is a float dtype, otherwise float32."""
    dtype = tf.as_dtype(getattr(value, "dtype", tf.float32)).base_dtype
    return dtype if dtype.is_floating else tf.float32


def _rate(name: str, value: Any) -> Any:
    """Returns a rate as it was given; raises if it is < 0, where it is known before run time."""
    if tf.is_tensor(value) and tf.get_static_value(value) is None:
        return value
    number(name, value, low=0)
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False; got {value!r}.")
    return value


def _list(name: str, value: Any) -> list[Any]:
    try:
        return list(value)
    except TypeError as error:
        raise ValueError(f"`{name}` must be a list of numbers; got {value!r}.") from error


for _schedule in SCHEDULES:
    register(_schedule)
