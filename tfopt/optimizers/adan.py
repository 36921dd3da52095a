"""Adan: adaptive Nesterov momentum, from the gradients and their differences."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class Adan(Optimizer):
    r"""Adan: adaptive Nesterov momentum.

    $$d_t = g_t - g_{t-1}, \qquad d_1 = 0$$

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad q_t = \beta_2 q_{t-1} + (1-\beta_2) d_t,
      \qquad n_t = \beta_3 n_{t-1} + (1-\beta_3) (g_t + \beta_2 d_t)^2$$

    $$u_t = \frac{m_t / (1-\beta_1^t) + \beta_2 q_t / (1-\beta_2^t)}
      {\sqrt{n_t / (1-\beta_3^t)} + \epsilon}, \qquad
      x_t = \frac{x_{t-1} - \alpha u_t}{1 + \alpha \lambda}$$

    When to use:
        Models that you would train with AdamW, if you can afford four slots. The authors take 5 to
        10 times AdamW's learning rate. Begin at 0.001, the default, and try up to 0.01.

    Args:
        learning_rate: the step size $\alpha$, at least 0. The authors take 5 to 10 times that of
            AdamW.
        beta_1: the decay rate $\beta_1$ of the average of gradients, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the average of differences, in [0, 1).
        beta_3: the decay rate $\beta_3$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            $\lambda$, which divides here.

    Slots:
        `m`, `d` ($q$), `v` ($n$) and `previous` (the last gradient), of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the slots of all rows change at every
        step. `lazy=True` updates only the rows in the batch; the difference is then to the last
        gradient of the same row.

        A variable that joins later begins with a last gradient of 0.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none.
        PyTorch: has none; the authors' package has the same formula.
        Optax: exchanges $\beta_2$ and $1-\beta_2$ in $u_t$ and $n_t$.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Adan(0.25)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.75

    Source: Xie et al., "Adan: adaptive Nesterov momentum algorithm for faster optimizing deep
    models" (2022), with decay rates as in the authors' code, which are 1 minus those of the paper.
    Optax exchanges $\beta_2$ and $1-\beta_2$ in $u_t$ and $n_t$.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.98, low=0, below=1)
    beta_2 = Hyper(0.92, low=0, below=1)
    beta_3 = Hyper(0.99, low=0, below=1)
    epsilon = Hyper(1e-8, low=0, tracked=False)

    sparse = "exact"
    decays = "own"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "d": zeros(x), "v": zeros(x), "previous": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.has_previous = h.t > 1
        h.correction_1 = 1 / (1 - h.beta_1**h.t)
        h.correction_2 = h.beta_2 / (1 - h.beta_2**h.t)
        h.correction_3 = 1 / (1 - h.beta_3**h.t)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        difference = tf.where(h.has_previous, g - s.previous, 0)
        s.previous = g
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.d = h.beta_2 * s.d + (1 - h.beta_2) * difference
        s.v = h.beta_3 * s.v + (1 - h.beta_3) * tf.square(g + h.beta_2 * difference)
        u = h.correction_1 * s.m + h.correction_2 * s.d
        x = x - h.learning_rate * u / (tf.sqrt(h.correction_3 * s.v) + h.epsilon)
        if self.uses("weight_decay"):
            x = x / (1 + h.learning_rate * h.weight_decay)
        return x
