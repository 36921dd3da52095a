"""RectifiedAdam (RAdam): Adam that waits until its second moment can be trusted."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class RectifiedAdam(Optimizer):
    r"""RectifiedAdam, also known as RAdam: Adam whose first steps need no warmup.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2,
      \qquad \hat m_t = \frac{m_t}{1-\beta_1^t}$$

    $$\rho_\infty = \frac{2}{1-\beta_2} - 1, \qquad
      \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1-\beta_2^t}$$

    While $\rho_t < \rho$, the second moment rests on too few gradients and is not used:

    $$x_t = x_{t-1} - \alpha \hat m_t$$

    From then on

    $$x_t = x_{t-1} - \alpha r_t \frac{\hat m_t}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon},
      \qquad r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}
        {(\rho_\infty - 4)(\rho_\infty - 2)\rho_t}}$$

    When to use:
        Models whose first steps are unstable with Adam: its first steps need no warmup. Begin at
        0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        sma_threshold: $\rho$, from which the second moment is used; at least 4. With 5 and the
            default $\beta_2$ this is the sixth step.
        amsgrad: whether to divide by the root of the largest second moment so far.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, and `vhat` with AMSGrad, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the moments of all rows decay at every
        step. `lazy=True` updates only the rows in the batch; the cost is that of these rows.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' has a warmup and a decay inside, which are a schedule
            here.
        PyTorch: `RAdam` uses the second moment where $\rho_t > 5$; `weight_decay` is part of the
            gradient.
        Optax: `optax.radam` has the same formula; $\epsilon$ is 1e-8 by default.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.RectifiedAdam(0.25)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.75

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond" (2020). Names
    and defaults are those of TensorFlow Addons; its `total_steps`, `warmup_proportion` and
    `min_lr` are a schedule here: `tfopt.schedules.Warmup` around a `LinearDecay`. PyTorch uses the
    second moment where $\rho_t > 5$, and its plain `weight_decay` is part of the gradient.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    sma_threshold = Hyper(5.0, low=4, tracked=False)
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
        h.is_sure, h.rectification = rectification(h.t, h.beta_2, h.sma_threshold)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        v = s.v
        if self.amsgrad:
            v = s.vhat = tf.maximum(s.vhat, s.v)
        m = h.correction_1 * s.m
        adaptive = h.rectification * m / (tf.sqrt(h.correction_2 * v) + h.epsilon)
        return x - h.learning_rate * tf.where(h.is_sure, adaptive, m)


def rectification(t: Any, beta_2: Any, threshold: Any) -> tuple[Any, Any]:
    """Returns whether a step may use the second moment, and the factor of its size then.

    Args:
        t: the number of the step, from 1.
        beta_2: the decay rate of the second moment.
        threshold: how long its average must be, at least 4.
    """
    power = beta_2**t
    longest = 2 / (1 - beta_2) - 1
    length = longest - 2 * t * power / (1 - power)
    is_sure = length >= threshold
    length = tf.where(is_sure, length, longest)  # below 4 there is no root
    here, at_last = ((n - 4) * (n - 2) / n for n in (length, longest))
    return is_sure, tf.sqrt(here / at_last)
