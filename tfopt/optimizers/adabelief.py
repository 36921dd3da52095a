"""AdaBelief: Adam that divides by how far a gradient is from what was expected."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer
from tfopt.optimizers.rectified_adam import rectification


class AdaBelief(Optimizer):
    r"""AdaBelief: Adam with the variance of the gradients around their average.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad
      v_t = \beta_2 v_{t-1} + (1-\beta_2) (g_t - m_t)^2 + \epsilon$$

    $$x_t = x_{t-1} - \alpha r_t
      \frac{m_t / (1-\beta_1^t)}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon}$$

    Where gradients agree with their average, steps are large; where they do not, small. The factor
    $r_t$ is that of `RectifiedAdam`, whose first steps are $\alpha m_t / (1-\beta_1^t)$. With
    `rectify=False` it is 1.

    When to use:
        Models that Adam trains: steps are large where gradients agree with their average. Begin at
        0.001, the default, with a small `epsilon`.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$, at least 0. It is added to the second moment in each
            step, so take it much smaller than in Adam.
        rectify: whether to make the first steps as RectifiedAdam does.
        sma_threshold: as in RectifiedAdam, at least 4.
        amsgrad: whether to divide by the root of the largest second moment so far.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, and `vhat` with AMSGrad, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the moments of all rows change at every
        step. `lazy=True` updates only the rows in the batch; the cost is that of these rows.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' adds $\epsilon$ only to the rows of a sparse
            gradient.
        PyTorch: has none.
        Optax: has no rectified first steps (`rectify=False` here); $\epsilon$ is 1e-16 by default.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.AdaBelief(0.25)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.75

    Source: Zhuang et al., "AdaBelief optimizer: adapting stepsizes by the belief in observed
    gradients" (2020). Names and defaults are those of TensorFlow Addons, which adds $\epsilon$ only
    to the rows of a sparse gradient; here it is added to all rows. Optax and PyTorch packages take
    1e-16 for $\epsilon$.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-14, low=0, tracked=False)
    rectify = Static(True)
    sma_threshold = Hyper(5.0, low=4, tracked=False, needs="rectify")
    amsgrad = Static(False)

    sparse = "exact"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        slots = {"m": zeros(x), "v": zeros(x)}
        if self.amsgrad:
            slots["vhat"] = zeros(x)
        return slots

    def begin(self, h: Any, state: Any) -> None:
        h.correction_1, h.correction_2 = 1 / (1 - h.beta_1**h.t), 1 / (1 - h.beta_2**h.t)
        if self.rectify:
            h.is_sure, h.rectification = rectification(h.t, h.beta_2, h.sma_threshold)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * tf.square(g - s.m) + h.epsilon
        v = s.v
        if self.amsgrad:
            v = s.vhat = tf.maximum(s.vhat, s.v)
        m = h.correction_1 * s.m
        step = m / (tf.sqrt(h.correction_2 * v) + h.epsilon)
        if self.rectify:
            step = tf.where(h.is_sure, h.rectification * step, m)
        return x - h.learning_rate * step
