"""Yogi: Adam whose second moment changes by small steps."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import full, zeros
from tfopt.hyper import Alias, Hyper, Static
from tfopt.optimizer import Optimizer


class Yogi(Optimizer):
    r"""Yogi: Adam with a second moment that grows and falls slowly.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad
      v_t = v_{t-1} - (1-\beta_2) \operatorname{sign}(v_{t-1} - g_t^2) g_t^2$$

    $$x_t = x_{t-1} - \alpha \frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}
      \frac{m_t}{\sqrt{v_t} + \epsilon}$$

    In Adam $v$ falls by a part of itself, so the step may grow quickly after a large gradient;
    here it falls by a part of $g^2$.

    When to use:
        Models in which Adam's steps grow suddenly after a large gradient: the second moment falls
        slowly here. Begin at 0.01, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        initial_accumulator_value: $v_0$, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the first moments of all rows decay at
        every step. `lazy=True` updates only the rows in the batch.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' has the same formula.
        PyTorch: has none.
        Optax: $m$ starts at $v_0$, too, and $\epsilon$ is added after the bias correction.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Yogi(0.5, epsilon=0.0, initial_accumulator_value=0.0)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.5

    Source: Zaheer et al., "Adaptive methods for nonconvex optimization" (2018). Names, defaults
    and the place of $\epsilon$ are those of TensorFlow Addons; its regularization and its
    `activation` are not supported. In Optax $m$ starts at $v_0$, too, and $\epsilon$ is added after
    the bias correction.
    """

    learning_rate = Hyper(0.01, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-3, low=0, tracked=False)
    initial_accumulator_value = Static(1e-6, low=0)
    beta1, beta2 = Alias("beta_1"), Alias("beta_2")

    sparse = "exact"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": full(x, self.initial_accumulator_value)}

    def begin(self, h: Any, state: Any) -> None:
        h.alpha = h.learning_rate * tf.sqrt(1 - h.beta_2**h.t) / (1 - h.beta_1**h.t)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        square = g * g
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = s.v - (1 - h.beta_2) * tf.sign(s.v - square) * square
        return x - h.alpha * s.m / (tf.sqrt(s.v) + h.epsilon)
