"""Cosine decay, with a warmup or with warm restarts."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfopt._libraries.serialization import number
from tfopt.schedules.arithmetic import half_cosine, whole
from tfopt.schedules.base import Formula, built_in


@built_in
class CosineDecay(Formula):
    r"""Cosine decay of the learning rate, optionally after a linear warmup.

    $$\eta_t = \eta_{\max} \left(\alpha + \frac{1 - \alpha}{2}
    \left(1 + \cos \frac{\pi \min(t - W, T)}{T}\right)\right)$$

    for $t \ge W$; before, $\eta_t = \eta_0 + (\eta_{\max} - \eta_0) \, t / W$. Without a
    warmup target, W is 0 and $\eta_{\max} = \eta_0$.

    Args:
        initial_learning_rate: $\eta_0$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        decay_steps: T, > 0, in steps, counted from the end of the warmup.
        alpha: $\alpha$, the last rate as a fraction of the highest, >= 0. Unitless.
        name: of the ops in a graph.
        warmup_target: $\eta_{\max}$, >= 0; `None` for no warmup.
        warmup_steps: W, >= 0, in steps; 0 without a target.

    Raises:
        ValueError: if an argument is out of range.

    Sources: Loshchilov & Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm
    Restarts", https://arxiv.org/abs/1608.03983; for the warmup, Goyal et al. (2017),
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

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        if self.warmup_target is None:
            return rate * half_cosine(step / self.decay_steps, self.alpha, rate.dtype)
        progress = (step - self.warmup_steps) / self.decay_steps
        decayed = self.warmup_target * half_cosine(progress, self.alpha, rate.dtype)
        if self.warmup_steps == 0:
            return decayed
        warmth = tf.cast(step / self.warmup_steps, rate.dtype)
        warm = rate + (self.warmup_target - rate) * warmth
        return tf.where(step < self.warmup_steps, warm, decayed)


@built_in
class CosineDecayRestarts(Formula):
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

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        periods = step / self.first_decay_steps
        if self.t_mul == 1:
            restarts = whole(periods)
            progress = periods - restarts
        else:
            growth = self.t_mul - 1
            restarts = whole(tf.math.log1p(periods * growth) / math.log(self.t_mul))
            length = self.t_mul**restarts
            progress = (periods - (length - 1) / growth) / length
        height = tf.cast(self.m_mul**restarts, rate.dtype)
        return rate * half_cosine(progress, self.alpha, rate.dtype, height)
