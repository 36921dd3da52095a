"""Adamax: Adam with the infinity norm."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class Adamax(Optimizer):
    r"""Adamax: Adam with the infinity norm in place of the second moment.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \max(\beta_2 v_{t-1}, |g_t|)$$

    $$x_t = x_{t-1} - \frac{\alpha}{1-\beta_1^t} \frac{m_t}{v_t + \epsilon}$$

    When to use:
        Models whose gradients are sparse or vary a lot in size: a step is at most about as large as
        the learning rate, whatever the gradients were. Begin at 0.001, the default; the paper uses
        0.002.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the infinity norm, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, of the variable's shape.

    Sparse gradients:
        Rows: only the rows in the batch are updated. The moments of all other rows do not decay.

    Other libraries:
        Keras 3: the same for dense gradients; see Adam for repeated rows.
        tf-keras: the same; so is `tf_keras.optimizers.legacy.Adamax`.
        PyTorch: $\epsilon$ is inside of the maximum; the learning rate is 0.002 by default.
        Optax: $\epsilon$ is inside of the maximum.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Adamax(0.1)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9

    Source: Kingma and Ba, "Adam: a method for stochastic optimization" (2015), section 7.1,
    which has no $\epsilon$.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)

    sparse = "rows"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.beta_1_power = h.beta_1**h.t
        h.alpha = h.learning_rate / (1 - h.beta_1_power)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = tf.maximum(h.beta_2 * s.v, tf.abs(g))
        return x - h.alpha * s.m / (s.v + h.epsilon)

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        betas = {"beta1": h.beta_1, "beta2": h.beta_2, "beta1_power": h.beta_1_power}
        rest = {"lr": h.learning_rate, "epsilon": h.epsilon, "grad": g, **betas}
        return kernel(tf.raw_ops.ResourceApplyAdaMax, var=var, m=s.m, v=s.v, **rest)
