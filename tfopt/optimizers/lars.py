"""LARS: momentum in proportion to the norm of each variable."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class LARS(Optimizer):
    r"""LARS: layer-wise adaptive rate scaling, SGD with momentum for very large batches.

    $$\rho_t = \eta \frac{\|x_{t-1}\|}{\|g_t\| + \lambda \|x_{t-1}\| + \epsilon}$$

    $$m_t = \mu m_{t-1} + \alpha \rho_t (g_t + \lambda x_{t-1}), \qquad x_t = x_{t-1} - m_t$$

    With Nesterov momentum the last equation is
    $x_t = x_{t-1} - \mu m_t - \alpha \rho_t (g_t + \lambda x_{t-1})$.

    The norms are those of the whole variable. If one of them is 0, $\rho_t$ is 1. Each variable
    moves by about the same part of its norm, so that large batches with a large learning rate stay
    stable. A linear warmup of the learning rate is usual.

    Vectors and scalars, such as biases and the parameters of normalization, have the role `plain`:
    $\rho_t$ is 1 and $\lambda$ is 0. All other variables have the role `adapted`. The keyword
    `roles` changes the role of a variable.

    When to use:
        Very large batches of a convolutional network: each variable moves by about the same part of
        its norm. Use a linear warmup of the learning rate. Begin at 0.01, the default, and raise it
        with the size of the batch: the steps are smaller than SGD's by the trust coefficient.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        momentum: the part $\mu$ of the last step that is kept, in [0, 1).
        trust_coefficient: $\eta$, above 0.
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        nesterov: whether to use Nesterov momentum.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            $\lambda$, which is part of the gradient here.

    Slots:
        `momentum`, of the variable's shape.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because the norms need the
        whole variable.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none.
        PyTorch: has none.
        Optax: divides by $\|g_t + \lambda x_{t-1}\|$, which is the same without weight decay.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable([[3.0, 4.0]])
    >>> opt = tfopt.LARS(1.0, trust_coefficient=0.5)
    >>> _ = opt.apply_gradients([(tf.constant([[0.0, 10.0]]), x)])
    >>> x.numpy()
    array([[3. , 1.5]], dtype=float32)

    Source: You, Gitman and Ginsburg, "Large batch training of convolutional networks" (2017).
    Optax divides by $\|g_t + \lambda x_{t-1}\|$ instead, which is the same without weight decay.
    """

    learning_rate = Hyper(0.01, low=0)
    momentum = Hyper(0.9, low=0, below=1)
    trust_coefficient = Hyper(1e-3, above=0)
    epsilon = Hyper(0.0, low=0, tracked=False)
    nesterov = Static(False)

    sparse = "whole"
    decays = "own"
    can_be_cautious = True
    roles = ("adapted", "plain")
    roles_without_decay = ("plain",)

    def choose_role(self, x: Any) -> str:
        return "adapted" if len(x.shape) > 1 else "plain"

    def slots(self, x: Any) -> dict[str, Any]:
        return {"momentum": zeros(x)}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        rate = h.learning_rate
        if h.role == "adapted":
            decay = h.weight_decay if self.uses("weight_decay") else 0.0
            g_norm, x_norm = tf.norm(g), tf.norm(x)
            ratio = h.trust_coefficient * x_norm / (g_norm + decay * x_norm + h.epsilon)
            rate = rate * tf.where((g_norm > 0) & (x_norm > 0), ratio, 1)
            g = g + decay * x
        s.momentum = h.momentum * s.momentum + rate * g
        if self.nesterov:
            return x - h.momentum * s.momentum - rate * g
        return x - s.momentum
