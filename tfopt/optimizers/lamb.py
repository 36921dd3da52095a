"""LAMB: Adam's direction, scaled by the norm of each variable."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class LAMB(Optimizer):
    r"""LAMB: layer-wise adaptive moments, for large batches.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$$

    $$u_t = \frac{m_t / (1-\beta_1^t)}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon} + \lambda x_{t-1}$$

    $$x_t = x_{t-1} - \alpha \frac{\|x_{t-1}\|}{\|u_t\|} u_t$$

    The norms are those of the whole variable. If one of them is 0, their ratio is 1.

    When to use:
        Very large batches of a transformer: each variable moves in proportion to its norm. Begin at
        0.001, the default, with a warmup, and raise it with the size of the batch.

    Args:
        learning_rate: the step size $\alpha$, at least 0, relative to the variable's norm.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            $\lambda$, which is part of $u_t$ here.

    Slots:
        `m` and `v`, of the variable's shape.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because the norms need the
        whole variable.

    Other libraries:
        Keras 3: `Lamb` decays the weights outside of the ratio, by $\alpha \lambda$, as AdamW does.
        tf-keras: has none; TensorFlow Addons' `LAMB` calls the decay `weight_decay_rate`.
        PyTorch: has none.
        Optax: the same formula; $\epsilon$ is 1e-6 by default.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable([3.0, 4.0])
    >>> opt = tfopt.LAMB(0.1)
    >>> _ = opt.minimize(lambda: tf.reduce_sum(x), [x])
    >>> x.numpy()
    array([2.6464467, 3.6464467], dtype=float32)

    Source: You et al., "Large batch optimization for deep learning: training BERT in 76
    minutes" (2020), with the identity as $\phi$ and without bounds on the ratio. The paper's
    defaults are $\epsilon$ = 1e-6 and $\lambda$ = 0.01; 1e-7 and None are Keras'. Keras 3 decays
    the weights outside of the ratio, by $\alpha \lambda$, as AdamW does.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)

    sparse = "whole"
    can_be_cautious = True
    decays = "own"

    def _formula_differs_in_keras(self) -> str:
        return "weight decay is outside of the ratio" if self.uses("weight_decay") else ""

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.correction_1, h.correction_2 = 1 / (1 - h.beta_1**h.t), 1 / (1 - h.beta_2**h.t)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        u = h.correction_1 * s.m / (tf.sqrt(h.correction_2 * s.v) + h.epsilon)
        if self.uses("weight_decay"):
            u = u + h.weight_decay * x
        x_norm, u_norm = tf.norm(x), tf.norm(u)
        ratio = tf.where((x_norm > 0) & (u_norm > 0), x_norm / u_norm, 1)
        return x - h.learning_rate * ratio * u
