"""Adam: adaptive moment estimation."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._libraries.tensorflow_private import inside_xla
from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class Adam(Optimizer):
    r"""Adam: adaptive moment estimation, with AMSGrad as an option.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$$

    $$x_t = x_{t-1} - \alpha \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}
      \frac{m_t}{\sqrt{v_t} + \epsilon}$$

    With AMSGrad, $\hat v_t = \max(\hat v_{t-1}, v_t)$ replaces $v_t$ in the last equation.

    When to use:
        Almost any model: it is the optimizer to begin with, since its steps have about the same
        size in every model. Take AdamW if you regularize. Begin at 0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        amsgrad: whether to divide by the root of the largest second moment so far.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, and `vhat` with AMSGrad, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the moments of all rows decay at every
        step. `lazy=True` updates only the rows in the batch; the cost is that of these rows.

    Other libraries:
        Keras 3: the same for dense gradients; the parts of a repeated row are squared before they
            are summed.
        tf-keras: the same; so is `tf_keras.optimizers.legacy.Adam`, with its checkpoints.
        PyTorch: $\epsilon$, 1e-8 by default, is added after the bias correction; `weight_decay` is
            part of the gradient.
        Optax: $\epsilon$, 1e-8 by default, is added after the bias correction.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Adam(0.1)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9

    Sources: Kingma and Ba, "Adam: a method for stochastic optimization" (2015), in the form
    before their section 2.1, where $\epsilon$ is not corrected for bias ("epsilon hat"), as
    in Keras 3 and tf-keras; Reddi, Kale and Kumar, "On the convergence of Adam and beyond"
    (2018), without bias correction inside the maximum.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    amsgrad = Static(False)

    sparse = "exact"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        slots = {"m": zeros(x), "v": zeros(x)}
        if self.amsgrad:
            slots["vhat"] = zeros(x)
        return slots

    def begin(self, h: Any, state: Any) -> None:
        h.beta_1_power, h.beta_2_power = h.beta_1**h.t, h.beta_2**h.t
        h.alpha = h.learning_rate * tf.sqrt(1 - h.beta_2_power) / (1 - h.beta_1_power)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        v = s.v
        if self.amsgrad:
            v = s.vhat = tf.maximum(s.vhat, s.v)
        return x - h.alpha * s.m / (tf.sqrt(v) + h.epsilon)

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        betas = {"beta1": h.beta_1, "beta2": h.beta_2}
        powers = {"beta1_power": h.beta_1_power, "beta2_power": h.beta_2_power}
        rest = {"lr": h.learning_rate, "epsilon": h.epsilon, "grad": g, **betas, **powers}
        if not self.amsgrad:
            return kernel(tf.raw_ops.ResourceApplyAdam, var=var, m=s.m, v=s.v, **rest)
        if inside_xla():
            return NotImplemented  # XLA lacks this one kernel
        op = tf.raw_ops.ResourceApplyAdamWithAmsgrad
        return kernel(op, var=var, m=s.m, v=s.v, vhat=s.vhat, **rest)
