"""Adagrad: a learning rate for each weight, from all its past gradients."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import full
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class Adagrad(Optimizer):
    r"""Adagrad: divides the gradient by the root of the sum of its past squares.

    $$v_t = v_{t-1} + g_t^2, \qquad x_t = x_{t-1} - \alpha \frac{g_t}{\sqrt{v_t} + \epsilon}$$

    When to use:
        Large embedding tables and sparse features: a row costs nothing in a step where it is not in
        the batch, and rare rows keep a large learning rate. Steps become smaller over time. Begin
        at 0.03, and try up to 1, near which the paper's experiments are: the default of Keras,
        0.001, is small.

    Args:
        learning_rate: the step size $\alpha$, at least 0. The paper's experiments use values
            near 1.
        initial_accumulator_value: the first value of the sum $v$, at least 0.
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `accumulator`, of the variable's shape.

    Sparse gradients:
        Rows: only the rows in the batch are updated. The result is that of the dense gradient,
        because nothing decays.

    Other libraries:
        Keras 3: $\epsilon$ is inside of the root; the parts of a repeated row are squared before
            they are summed.
        tf-keras: $\epsilon$ is inside of the root; `tf_keras.optimizers.legacy.Adagrad` is the same
            as tfopt's.
        PyTorch: the sum starts at 0; $\epsilon$ is 1e-10 and the learning rate 0.01 by default;
            `lr_decay` is `decay` here.
        Optax: $\epsilon$ is inside of the root.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Adagrad(0.1, initial_accumulator_value=0.0)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization" (2011). Keras 3 adds $\epsilon$ inside the root.
    """

    learning_rate = Hyper(1e-3, low=0)
    initial_accumulator_value = Static(0.1, low=0)
    epsilon = Hyper(1e-7, low=0, tracked=False)

    sparse = "rows"

    def _formula_differs_in_keras(self) -> str:
        return "epsilon is inside the square root"

    def slots(self, x: Any) -> dict[str, Any]:
        return {"accumulator": full(x, self.initial_accumulator_value)}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.accumulator = s.accumulator + g * g
        return x - h.learning_rate * g / (tf.sqrt(s.accumulator) + h.epsilon)

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        rest = {"lr": h.learning_rate, "epsilon": h.epsilon, "grad": g}
        return kernel(tf.raw_ops.ResourceApplyAdagradV2, var=var, accum=s.accumulator, **rest)
