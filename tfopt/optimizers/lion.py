"""Lion: the sign of a mean of momentum and gradient."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class Lion(Optimizer):
    r"""Lion (evolved sign momentum): every weight moves by the same amount.

    $$x_t = x_{t-1} - \alpha\, \mathrm{sign}(\beta_1 m_{t-1} + (1-\beta_1) g_t)$$

    $$m_t = \beta_2 m_{t-1} + (1-\beta_2) g_t$$

    When to use:
        Large models, if memory is scarce: it has one slot. Begin at 1e-4, the default of the
        authors' code, or three to ten times below Adam's learning rate, with a weight decay that is
        higher by the same factor. The default of Keras, 0.001, is high.

    Args:
        learning_rate: the step size $\alpha$, at least 0. Take it smaller than Adam's, by a
            factor of 3 to 10.
        beta_1: the part $\beta_1$ of the momentum in the direction of a step, in [0, 1].
        beta_2: the decay rate $\beta_2$ of the momentum, in (0, 1].
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            the paper's $\lambda$. Take it larger than AdamW's, by the same factor.

    Slots:
        `m`, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: every row moves at every step, by its
        momentum. `lazy=True` updates only the rows in the batch.

    Other libraries:
        Keras 3: the same.
        tf-keras: the same; the learning rate is 1e-4 by default.
        PyTorch: has none.
        Optax: the same formula; `weight_decay` is 1e-3 by default.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Lion(0.1)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9

    Source: Chen et al., "Symbolic discovery of optimization algorithms" (2023). The
    default learning rate of the authors' code is 1e-4; 1e-3 is Keras'.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, high=1)
    beta_2 = Hyper(0.99, above=0, high=1)

    sparse = "exact"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.part = h.beta_1 / h.beta_2

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_2 * s.m + (1 - h.beta_2) * g
        # The direction is written with the new momentum: XLA would have to copy the old one.
        return x - h.learning_rate * tf.sign(h.part * s.m + (1 - h.part) * g)
