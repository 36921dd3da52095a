"""Schedules that rise and fall: one cycle (super-convergence), and cyclical learning rates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.serialization import number
from tfopt.schedules.arguments import flag, one_of
from tfopt.schedules.arithmetic import half_cosine, whole
from tfopt.schedules.base import Formula, built_in


@built_in
class OneCycle(Formula):
    r"""One cycle (super-convergence): the rate rises to a maximum, and falls far below its start.

    With p = `pct_start`, T = `total_steps` and a shape f that falls from 1 to 0, the rate goes

    - from $\eta_{\max} / d$ to $\eta_{\max}$ in steps 0 to $p T - 1$,
    - then to $\eta_{\max} / (d \, d_T)$ in step $T - 1$, where it stays.

    $$\eta_t = \eta_b + (\eta_a - \eta_b) \, f\left(\frac{t - t_a}{t_b - t_a}\right), \quad
    f(x) = \frac{1 + \cos \pi x}{2} \text{ or } 1 - x$$

    between the step $t_a$ with rate $\eta_a$ and the step $t_b$ with rate $\eta_b$. The steps are
    counted as in PyTorch's `OneCycleLR`: the maximum is at step $p T - 1$, not $p T$. So the last
    of T steps, which is step $T - 1$, has the lowest rate. The rates are those of PyTorch. In
    contrast to PyTorch, this schedule does not raise after T steps, and leaves momentum alone.

    With `three_phase`, the rate falls to $\eta_{\max} / d$ in step $2 p T - 2$, as fast as it rose,
    and then to $\eta_{\max} / (d \, d_T)$ in step $T - 1$.

    Args:
        max_learning_rate: $\eta_{\max}$, >= 0; a number, or a scalar tensor or array whose
            float dtype the rate takes.
        total_steps: T, > 1, in steps.
        pct_start: p, the fraction of the steps in which the rate rises, >= 0 and < 1, and at most
            0.5 with `three_phase`. Unitless: it is not in percent, in spite of its name in PyTorch.
        div_factor: d, > 0, unitless: the first rate is the maximum divided by it.
        final_div_factor: $d_T$, > 0, unitless: the last rate is the first one divided by it.
        anneal: the shape f between two rates: "cos" or "linear".
        three_phase: whether the rate falls to the first rate before it falls to the last one.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range.

    Source: Smith & Topin (2017), "Super-Convergence: Very Fast Training of Neural Networks Using
    Large Learning Rates", https://arxiv.org/abs/1708.07120

    >>> schedule = OneCycle(0.1, total_steps=10)
    >>> [round(float(schedule(step)), 7) for step in (0, 1, 2, 9)]
    [0.004, 0.052, 0.1, 4e-07]
    """

    _rate_argument = "max_learning_rate"

    def __init__(
        self,
        max_learning_rate: Any,
        total_steps: float,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        anneal: str = "cos",
        three_phase: bool = False,
        name: str | None = "OneCycle",
    ):
        super().__init__(max_learning_rate, name)
        self.total_steps = number("total_steps", total_steps, above=1)
        self.pct_start = number("pct_start", pct_start, low=0)
        self.div_factor = number("div_factor", div_factor, above=0)
        self.final_div_factor = number("final_div_factor", final_div_factor, above=0)
        self.anneal = one_of("anneal", anneal, ("cos", "linear"))
        self.three_phase = flag("three_phase", three_phase)
        if self.pct_start >= 1:
            raise ValueError(f"`pct_start` must be a number < 1; got {pct_start!r}.")
        if three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"`pct_start` must be at most 0.5 with `three_phase`; got {pct_start!r}."
            )

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        first = rate / self.div_factor
        peak, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        corners = [(0.0, first), (peak, rate), (end, first / self.final_div_factor)]
        if self.three_phase:
            corners.insert(2, (2 * peak, first))
        result = corners[-1][1]
        for (start, high), (stop, low) in reversed(list(zip(corners, corners[1:], strict=False))):
            if stop > start:
                fraction = self._remaining((step - start) / (stop - start), rate.dtype)
                result = tf.where(step <= stop, low + (high - low) * fraction, result)
        return result

    def _remaining(self, progress: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        """Returns f, which falls from 1 to 0."""
        if self.anneal == "cos":
            return half_cosine(progress, 0, dtype)
        return tf.cast(1 - tf.clip_by_value(progress, 0, 1), dtype)


@built_in
class Cyclic(Formula):
    r"""Cyclical learning rate (CLR): the rate rises and falls in straight lines, again and again.

    $$\eta_t = \eta_0 + (\eta_{\max} - \eta_0) \, (1 - x_t) \, g, \quad
    x_t = \left|\frac{t}{s} - 2 k + 1\right|, \quad
    k = 1 + \left\lfloor \frac{t}{2 s} \right\rfloor$$

    where k counts the cycles from 1, and g scales the height of a cycle: $g = 1$ for
    `scale="triangular"`, $g = 2^{1 - k}$ for `"triangular2"`, and $g = \gamma^t$ for `"exp"`. These
    are the three classes of TensorFlow Addons. PyTorch calls the third one "exp_range".

    Args:
        initial_learning_rate: $\eta_0$, >= 0; the lowest rate: a number, or a scalar tensor or
            array whose float dtype the rate takes.
        maximal_learning_rate: $\eta_{\max}$, >= 0.
        step_size: s, > 0, in steps: half the length of a cycle.
        scale: how the height of cycles changes: "triangular", "triangular2" or "exp".
        gamma: $\gamma$, > 0, unitless; 1 unless the scale is "exp".
        scale_mode: what the scale depends on: "cycle", k, or "iterations", t. By default, `None`,
            it is t for "exp" and k otherwise. With "exp" and "cycle", $g = \gamma^k$; with
            "triangular2" and "iterations", $g = 2^{1 - t}$.
        name: of the ops in a graph.

    Raises:
        ValueError: if an argument is out of range, or has no effect: `gamma` without "exp", or
            `scale_mode` with "triangular".

    Source: Smith (2017), "Cyclical Learning Rates for Training Neural Networks",
    https://arxiv.org/abs/1506.01186

    >>> schedule = Cyclic(0.0, 0.1, step_size=4, scale="triangular2")
    >>> [float(schedule(step)) for step in (0, 2, 4, 8, 12, 16)]
    [0.0, 0.05, 0.1, 0.0, 0.05, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: Any,
        maximal_learning_rate: float,
        step_size: float,
        scale: str = "triangular",
        gamma: float = 1.0,
        scale_mode: str | None = None,
        name: str | None = "Cyclic",
    ):
        super().__init__(initial_learning_rate, name)
        self.maximal_learning_rate = number("maximal_learning_rate", maximal_learning_rate, low=0)
        self.step_size = number("step_size", step_size, above=0)
        self.scale = one_of("scale", scale, ("triangular", "triangular2", "exp"))
        self.gamma = number("gamma", gamma, above=0)
        self.scale_mode = one_of("scale_mode", scale_mode, (None, "cycle", "iterations"))
        if scale != "exp" and self.gamma != 1:
            raise ValueError(
                "`gamma` must be 1 unless `scale` is 'exp': it would have no effect; "
                f"got {gamma!r}."
            )
        if scale == "triangular" and scale_mode is not None:
            raise ValueError(
                "`scale_mode` must be None where `scale` is 'triangular': it would have no "
                f"effect; got {scale_mode!r}."
            )

    def _formula(self, rate: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        cycle = whole(step / (2 * self.step_size)) + 1
        distance = tf.abs(step / self.step_size - 2 * cycle + 1)
        height = tf.maximum(1 - distance, 0) * self._scale(step, cycle)
        return rate + (self.maximal_learning_rate - rate) * tf.cast(height, rate.dtype)

    def _scale(self, step: tf.Tensor, cycle: tf.Tensor) -> Any:
        """Returns g."""
        if self.scale == "triangular":
            return 1.0
        mode = self.scale_mode or ("iterations" if self.scale == "exp" else "cycle")
        argument = cycle if mode == "cycle" else step
        return self.gamma**argument if self.scale == "exp" else 2.0 ** (1 - argument)
