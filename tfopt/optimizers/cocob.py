"""COCOB: training without a learning rate, by betting on coins."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import copy, full, zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class COCOB(Optimizer):
    r"""COCOB: continuous coin betting, which needs no learning rate.

    $$L_t = \max(L_{t-1}, |g_t|), \qquad G_t = G_{t-1} + |g_t|, \qquad
      R_t = \max(R_{t-1} - g_t (x_{t-1} - x_0), 0), \qquad C_t = C_{t-1} - g_t$$

    $$y_t = x_0 + \frac{C_t}{L_t \max(G_t + L_t, a L_t)} (L_t + R_t), \qquad
      x_t = x_{t-1} + \alpha (y_t - x_{t-1})$$

    Each weight bets on the sign of its next gradient, and wins if it guesses right: $R$ is what it
    has won, and it bets a part of it. Positions are relative to the first value $x_0$, so load
    weights before the first step.

    When to use:
        Models for which you do not wish to tune a learning rate: it needs none. Leave
        `learning_rate` at 1, the default.

    Args:
        alpha: $a$: at first at most the part $1/a$ of the wealth is bet; above 0.
        learning_rate: the part $\alpha$ of the way to $y$, at least 0. Leave it at 1, unless a
            schedule or callback is to bring the training to rest.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` raises:
            the next $y$ would take the decay back.

    Slots:
        `start` ($x_0$), `largest` ($L$, from 1e-8), `total` ($G$), `reward` ($R$) and `bet` ($C$),
        of the variable's shape.

    Sparse gradients:
        Rows: only the rows in the batch are updated. At a learning rate of 1 the result is that of
        the dense gradient.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; TensorFlow Addons' has the same formula, without a learning rate.
        PyTorch: has none.
        Optax: `optax.contrib.cocob` has the same formula.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.COCOB(alpha=4.0)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.75

    Source: Orabona and Tommasi, "Training deep networks without learning rates through coin
    betting" (2017), algorithm 2 (COCOB-Backprop). Name and default of `alpha` are those of
    TensorFlow Addons; the learning rate is that of Optax.
    """

    alpha = Hyper(100.0, above=0)
    learning_rate = Hyper(1.0, low=0)

    sparse = "rows"
    decays = None

    def slots(self, x: Any) -> dict[str, Any]:
        return {
            "start": copy(x),
            "largest": full(x, 1e-8),
            "total": zeros(x),
            "reward": zeros(x),
            "bet": zeros(x),
        }

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.largest = tf.maximum(s.largest, tf.abs(g))
        s.total = s.total + tf.abs(g)
        s.reward = tf.maximum(s.reward - g * (x - s.start), 0)
        s.bet = s.bet - g
        limit = tf.maximum(s.total + s.largest, h.alpha * s.largest)
        y = s.start + s.bet / (s.largest * limit) * (s.largest + s.reward)
        return x + h.learning_rate * (y - x)
