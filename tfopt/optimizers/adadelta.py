"""Adadelta: step sizes from averages of past gradients and past steps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class Adadelta(Optimizer):
    r"""Adadelta: scales the gradient by the ratio of past steps to past gradients.

    $$v_t = \rho v_{t-1} + (1-\rho) g_t^2, \qquad
      d_t = \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} g_t$$

    $$u_t = \rho u_{t-1} + (1-\rho) d_t^2, \qquad x_t = x_{t-1} - \alpha d_t$$

    When to use:
        Models whose authors used it. Begin at 1.0, the learning rate of the paper: the default of
        Keras, 0.001, is very small.

    Args:
        learning_rate: the factor $\alpha$ of the step, at least 0; 1 in the paper.
        rho: the decay rate $\rho$ of the averages, in [0, 1].
        epsilon: the small number $\epsilon$ in both roots, at least 0. It sets the size of
            the first steps.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `accum_grad` ($v$) and `accum_var` ($u$), of the variable's shape.

    Sparse gradients:
        Rows: only the rows in the batch are updated. The averages of all other rows do not decay.

    Other libraries:
        Keras 3: the same for dense gradients; the parts of a repeated row are squared before they
            are summed.
        tf-keras: the same; so is `tf_keras.optimizers.legacy.Adadelta`.
        PyTorch: the same formula; the defaults are 1.0, $\rho$ 0.9 and $\epsilon$ 1e-6.
        Optax: the same formula; the defaults are $\rho$ 0.9 and $\epsilon$ 1e-6.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Adadelta(1.0, epsilon=0.01)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.591752

    Source: Zeiler, "ADADELTA: an adaptive learning rate method" (2012).
    """

    learning_rate = Hyper(1e-3, low=0)
    rho = Hyper(0.95, low=0, high=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)

    sparse = "rows"

    def slots(self, x: Any) -> dict[str, Any]:
        return {"accum_grad": zeros(x), "accum_var": zeros(x)}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.accum_grad = h.rho * s.accum_grad + (1 - h.rho) * g * g
        d = tf.sqrt(s.accum_var + h.epsilon) * tf.math.rsqrt(s.accum_grad + h.epsilon) * g
        s.accum_var = h.rho * s.accum_var + (1 - h.rho) * d * d
        return x - h.learning_rate * d

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        slots = {"accum": s.accum_grad, "accum_update": s.accum_var}
        rest = {"lr": h.learning_rate, "rho": h.rho, "epsilon": h.epsilon, "grad": g}
        return kernel(tf.raw_ops.ResourceApplyAdadelta, var=var, **slots, **rest)
