"""Warmup-stable-decay (WSD), also called a trapezoidal schedule."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.serialization import number
from tfopt.schedules.arguments import one_of
from tfopt.schedules.arithmetic import half_cosine
from tfopt.schedules.base import Formula, built_in


@built_in
class WarmupStableDecay(Formula):
    r"""Warmup-stable-decay (WSD): a linear warmup, a constant rate, and a decay at the end.

    The rate before the decay does not depend on how long you train. So you can train with the
    constant rate for as long as you like, and decide later when the decay begins.

    $$\eta_t = \eta_0 + (\eta_{\max} - \eta_0) \, t / W \quad (t < W)$$

    $$\eta_t = \eta_T + (\eta_{\max} - \eta_T) \, f(p), \quad
    p = \min\left(\max\left(\frac{t - W - S}{D}, 0\right), 1\right) \quad (t \ge W)$$

    where $f(p) = 1 - p$ for `decay="linear"`, $f(p) = (1 + \cos \pi p) / 2$ for `"cosine"`, and
    $f(p) = 1 - \sqrt p$ for `"1-sqrt"`.

    Args:
        peak_learning_rate: $\eta_{\max}$, >= 0; the rate between warmup and decay: a number, or
            a scalar tensor or array whose float dtype the rate takes.
        warmup_steps: W, >= 0, in steps; 0 for no warmup.
        stable_steps: S, >= 0, in steps: how long the rate is constant.
        decay_steps: D, > 0, in steps.
        decay: the shape of the decay: "linear", "cosine" or "1-sqrt".
        initial_learning_rate: $\eta_0$, >= 0; the rate at step 0, if there is a warmup.
        end_learning_rate: $\eta_T$, >= 0; the rate after W + S + D steps.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range, or there is an initial rate and no warmup.

    Sources: Hu et al. (2024), "MiniCPM: Unveiling the Potential of Small Language Models with
    Scalable Training Strategies", https://arxiv.org/abs/2404.06395, whose own decay is
    exponential; Hägele et al. (2024), "Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations", https://arxiv.org/abs/2405.18392, for the other shapes.

    >>> schedule = WarmupStableDecay(0.1, warmup_steps=4, stable_steps=10, decay_steps=4)
    >>> [float(schedule(step)) for step in (0, 2, 4, 14, 16, 18)]
    [0.0, 0.05, 0.1, 0.1, 0.05, 0.0]
    """

    _rate_argument = "peak_learning_rate"

    def __init__(
        self,
        peak_learning_rate: Any,
        warmup_steps: float,
        stable_steps: float,
        decay_steps: float,
        decay: str = "linear",
        initial_learning_rate: float = 0.0,
        end_learning_rate: float = 0.0,
        name: str | None = "WarmupStableDecay",
    ):
        super().__init__(peak_learning_rate, name)
        self.warmup_steps = number("warmup_steps", warmup_steps, low=0)
        self.stable_steps = number("stable_steps", stable_steps, low=0)
        self.decay_steps = number("decay_steps", decay_steps, above=0)
        self.decay = one_of("decay", decay, ("linear", "cosine", "1-sqrt"))
        self.initial_learning_rate = number("initial_learning_rate", initial_learning_rate, low=0)
        self.end_learning_rate = number("end_learning_rate", end_learning_rate, low=0)
        if initial_learning_rate and not warmup_steps:
            raise ValueError(
                "`initial_learning_rate` must be 0 where `warmup_steps` is 0: it would have no "
                f"effect; got {initial_learning_rate!r}."
            )

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        progress = (step - self.warmup_steps - self.stable_steps) / self.decay_steps
        remaining = self._remaining(tf.clip_by_value(progress, 0, 1), rate.dtype)
        decayed = self.end_learning_rate + (rate - self.end_learning_rate) * remaining
        if not self.warmup_steps:
            return decayed
        warmth = tf.cast(step / self.warmup_steps, rate.dtype)
        warm = self.initial_learning_rate + (rate - self.initial_learning_rate) * warmth
        return tf.where(step < self.warmup_steps, warm, decayed)

    def _remaining(self, progress: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Returns f(p), which falls from 1 to 0."""
        if self.decay == "cosine":
            return half_cosine(progress, 0, dtype)
        return tf.cast(1 - (progress if self.decay == "linear" else tf.sqrt(progress)), dtype)
