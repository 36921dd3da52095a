"""NovoGrad: gradients divided by their norm, and averaged then."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Alias, Hyper, Static
from tfopt.optimizer import Optimizer


class NovoGrad(Optimizer):
    r"""NovoGrad: layer-wise second moments, one number for each variable.

    $$v_t = \beta_2 v_{t-1} + (1-\beta_2) \|g_t\|^2, \qquad v_1 = \|g_1\|^2$$

    $$m_t = \beta_1 m_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda x_{t-1},
      \qquad x_t = x_{t-1} - \alpha m_t$$

    With `grad_averaging` the last two terms of $m_t$ are multiplied by $1-\beta_1$.

    It needs half of Adam's memory, and is robust against the choice of learning rate and initial
    weights.

    When to use:
        Large models, if memory is scarce: it needs half of Adam's memory, and it is robust against
        the choice of learning rate and initial weights. Begin at 0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the part $\beta_1$ of the last step that is kept, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        grad_averaging: whether $m_t$ is an average, not a sum.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            $\lambda$, which is part of $m_t$ here.

    Slots:
        `m`, of the variable's shape, and `v`, a scalar.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because the momentum of all
        rows moves them.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; in TensorFlow Addons the learning rate is part of the momentum.
        PyTorch: has none.
        Optax: $\beta_2$ is 0.25 by default.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable([3.0, 4.0])
    >>> opt = tfopt.NovoGrad(1.0)
    >>> _ = opt.minimize(lambda: tf.reduce_sum(x * x) / 2, [x])
    >>> x.numpy()
    array([2.4, 3.2], dtype=float32)

    Source: Ginsburg et al., "Stochastic gradient methods with layer-wise adaptive moments for
    training of deep networks" (2019). Names and defaults are those of TensorFlow Addons; there the
    learning rate is part of the momentum, and the first averaged step is not scaled. Optax takes
    $\beta_2 = 0.25$. The authors use $\beta_1 = 0.95$ and $\beta_2 = 0.98$.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    grad_averaging = Static(False)
    gradient_averaging = Alias("grad_averaging")

    sparse = "whole"
    decays = "own"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": zeros(x, shape=())}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        square = tf.reduce_sum(g * g)
        s.v = tf.where(s.v > 0, h.beta_2 * s.v + (1 - h.beta_2) * square, square)
        new = g / (tf.sqrt(s.v) + h.epsilon)
        if self.uses("weight_decay"):
            new = new + h.weight_decay * x
        if self.grad_averaging:
            new = (1 - h.beta_1) * new
        s.m = h.beta_1 * s.m + new
        return x - h.learning_rate * s.m
