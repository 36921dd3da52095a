"""RMSprop: gradients divided by a running root mean square."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class RMSprop(Optimizer):
    r"""RMSprop: divides the gradient by the running root mean square of its past values.

    $$v_t = \rho v_{t-1} + (1-\rho) g_t^2$$

    $$x_t = x_{t-1} - \alpha \frac{g_t}{\sqrt{v_t} + \epsilon}$$

    With momentum the second equation is

    $$u_t = \mu u_{t-1} + \alpha \frac{g_t}{\sqrt{v_t + \epsilon}}, \qquad x_t = x_{t-1} - u_t$$

    With `centered`, the variance $v_t - \bar g_t^2$ takes the place of $v_t$ below the gradient,
    where $\bar g_t = \rho \bar g_{t-1} + (1-\rho) g_t$. A variance that is rounded below 0
    counts as 0.

    When to use:
        Recurrent networks and reinforcement learning whose authors used it. For a new model, Adam
        is the safer choice. Begin at 0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        rho: the decay rate $\rho$ of the averages, in [0, 1].
        momentum: the part $\mu$ of the last step that is kept, in [0, 1]. At 0 there is no
            slot; then momentum cannot change once slots exist.
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        centered: whether to divide by the standard deviation of the gradient instead.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `rms`, `momentum` if used, `mg` if centered; of the variable's shape.

    Sparse gradients:
        Exact without momentum: the result is that of the dense gradient. Rows with momentum:
        only the rows in the batch are updated.

    Other libraries:
        Keras 3: $\epsilon$ is always inside of the root.
        tf-keras: $\epsilon$ is always inside of the root; `tf_keras.optimizers.legacy.RMSprop` is
            the same as tfopt's.
        PyTorch: $\epsilon$ is never inside of the root; `alpha` is $\rho$, 0.99 by default; the
            learning rate multiplies the momentum when it is used.
        Optax: $\epsilon$ is inside of the root, unless `eps_in_sqrt=False`; `decay` is $\rho$.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.RMSprop(0.1)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.6837723

    Source: Tieleman and Hinton, "Lecture 6.5: rmsprop" (2012), as OptimizerV2 computes it:
    $\epsilon$ is inside the root with momentum only. In Keras 3 it is always inside.
    """

    learning_rate = Hyper(1e-3, low=0)
    rho = Hyper(0.9, low=0, high=1)
    momentum = Hyper(0.0, low=0, high=1, off=0)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    centered = Static(False)

    def _formula_differs_in_keras(self) -> str:
        return "" if self.uses("momentum") else "epsilon is inside the square root"

    @property
    def sparse(self) -> str:
        return "rows" if self.uses("momentum") else "exact"

    def slots(self, x: Any) -> dict[str, Any]:
        slots = {"rms": zeros(x)}
        if self.uses("momentum"):
            slots["momentum"] = zeros(x)
        if self.centered:
            slots["mg"] = zeros(x)
        return slots

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.rms = h.rho * s.rms + (1 - h.rho) * g * g
        variance = s.rms
        if self.centered:
            s.mg = h.rho * s.mg + (1 - h.rho) * g
            variance = s.rms - s.mg * s.mg
            if not variance.dtype.is_complex:  # which only `tfopt.legacy` takes
                variance = tf.nn.relu(variance)
        if not self.uses("momentum"):
            return x - h.learning_rate * g / (tf.sqrt(variance) + h.epsilon)
        s.momentum = h.momentum * s.momentum + h.learning_rate * g / tf.sqrt(variance + h.epsilon)
        return x - s.momentum

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        if self.centered or not self.uses("momentum"):
            return NotImplemented  # the kernels' variance may round below 0
        averages = {"ms": s.rms, "mom": s.momentum, "rho": h.rho, "momentum": h.momentum}
        op = tf.raw_ops.ResourceApplyRMSProp
        return kernel(op, var=var, **averages, lr=h.learning_rate, epsilon=h.epsilon, grad=g)
