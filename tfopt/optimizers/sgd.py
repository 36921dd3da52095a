"""SGD: stochastic gradient descent, with momentum."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class SGD(Optimizer):
    r"""SGD: stochastic gradient descent, with momentum and Nesterov momentum.

    Without momentum

    $$x_t = x_{t-1} - \alpha g_t$$

    with momentum

    $$m_t = \mu m_{t-1} - \alpha g_t, \qquad x_t = x_{t-1} + m_t$$

    and with Nesterov momentum the second equation is $x_t = x_{t-1} + \mu m_t - \alpha g_t$.

    When to use:
        Convolutional networks, if you have time to tune: use momentum 0.9, `nesterov=True` and a
        learning rate schedule. It needs one slot, or none. Begin at 0.01, the default, and try
        factors of 3 up and down: its steps are in proportion to the gradient, so the best learning
        rate differs between models.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        momentum: the part $\mu$ of the last step that is kept, in [0, 1]. At 0 there is no
            slot; then momentum cannot change once slots exist.
        nesterov: whether to use Nesterov momentum.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `momentum`, of the variable's shape, if momentum is used.

    Sparse gradients:
        Rows: only the rows in the batch are updated. The momentum of all other rows does not
        move them, as it would with the dense gradient. Without momentum the result is that of
        the dense gradient.

    Other libraries:
        Keras 3: the same for dense gradients. With momentum every row moves, also for a gradient of
            rows.
        tf-keras: the same; `tf_keras.optimizers.legacy.SGD` treats rows as tfopt does.
        PyTorch: the learning rate multiplies the momentum when it is used, so a change of the rate
            acts on past gradients, too. `weight_decay` is part of the gradient.
        Optax: as in PyTorch.

    Dtypes:
        Variables may also be complex.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.SGD(0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.72

    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and
    momentum in deep learning" (2013), in OptimizerV2's form, where the learning rate is
    inside the momentum.
    """

    learning_rate = Hyper(0.01, low=0)
    momentum = Hyper(0.0, low=0, high=1, off=0)
    nesterov = Static(False, needs="momentum")

    sparse = "rows"
    complex_numbers = True

    @property
    def can_be_cautious(self) -> bool:
        return self.uses("momentum")

    def slots(self, x: Any) -> dict[str, Any]:
        return {"momentum": zeros(x)} if self.uses("momentum") else {}

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        if not self.uses("momentum"):
            return x - h.learning_rate * g
        s.momentum = h.momentum * s.momentum - h.learning_rate * g
        if self.nesterov:
            return x + h.momentum * s.momentum - h.learning_rate * g
        return x + s.momentum

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        lr, ops = h.learning_rate, tf.raw_ops
        if not self.uses("momentum"):
            return kernel(ops.ResourceApplyGradientDescent, var=var, alpha=lr, delta=g)
        options = {"momentum": h.momentum, "use_nesterov": self.nesterov}
        op = ops.ResourceApplyKerasMomentum
        return kernel(op, var=var, accum=s.momentum, lr=lr, grad=g, **options)
