"""ProximalAdagrad: Adagrad with L1 and L2 regularization solved exactly in each step."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import full
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class ProximalAdagrad(Optimizer):
    r"""ProximalAdagrad: Adagrad with L1 and L2 regularization, which makes weights exactly 0.

    $$v_t = v_{t-1} + g_t^2, \qquad \alpha_t = \frac{\alpha}{\sqrt{v_t}}, \qquad
      u_t = x_{t-1} - \alpha_t g_t$$

    $$x_t = \frac{\operatorname{sign}(u_t) \max(|u_t| - \alpha_t \lambda_1, 0)}
      {1 + \alpha_t \lambda_2}$$

    This is the least of $\frac{(x-u_t)^2}{2 \alpha_t} + \lambda_1 |x| + \frac{\lambda_2}{2} x^2$.

    When to use:
        Linear models of sparse features whose weights should become exactly 0, by
        `l1_regularization_strength`. Begin at 0.001, the default, and try factors of 3 upwards: the
        rate falls as in Adagrad.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        initial_accumulator_value: $v_0$, above 0.
        l1_regularization_strength: $\lambda_1$, at least 0.
        l2_regularization_strength: $\lambda_2$, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` raises:
            $\lambda_2$ is its place.

    Slots:
        `accumulator`, of the variable's shape.

    Sparse gradients:
        Rows: only the rows in the batch are updated. Other rows are not regularized, as they would
        be with the dense gradient.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' has the same formula.
        PyTorch: has none.
        Optax: has none.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable([1.0, 0.1])
    >>> opt = tfopt.ProximalAdagrad(0.5, 1.0, l1_regularization_strength=0.25)
    >>> _ = opt.apply_gradients([(tf.zeros([2]), x)])
    >>> x.numpy()
    array([0.875, 0.   ], dtype=float32)

    Source: Duchi and Singer, "Efficient learning using forward-backward splitting" (2009), with the
    rates of Duchi, Hazan and Singer, "Adaptive subgradient methods" (2011). Names and defaults are
    those of TensorFlow Addons.
    """

    learning_rate = Hyper(1e-3, low=0)
    initial_accumulator_value = Static(0.1, above=0)
    l1_regularization_strength = Hyper(0.0, low=0)
    l2_regularization_strength = Hyper(0.0, low=0)

    sparse = "rows"
    decays = None

    def slots(self, x: Any) -> dict[str, Any]:
        return {"accumulator": full(x, self.initial_accumulator_value)}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.accumulator = s.accumulator + g * g
        rate = h.learning_rate / tf.sqrt(s.accumulator)
        u = x - rate * g
        shrunk = tf.sign(u) * tf.maximum(tf.abs(u) - rate * h.l1_regularization_strength, 0)
        return shrunk / (1 + rate * h.l2_regularization_strength)

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        l1, l2 = h.l1_regularization_strength, h.l2_regularization_strength
        op = tf.raw_ops.ResourceApplyProximalAdagrad
        rest = {"lr": h.learning_rate, "l1": l1, "l2": l2, "grad": g}
        return kernel(op, var=var, accum=s.accumulator, **rest)
