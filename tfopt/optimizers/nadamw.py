"""NAdamW: AdamW with Nesterov momentum."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class NAdamW(Optimizer):
    r"""NAdamW: AdamW with Nesterov momentum.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$$

    $$\hat m_t = \frac{\beta_1 m_t}{1-\beta_1^{t+1}} + \frac{(1-\beta_1) g_t}{1-\beta_1^t}$$

    $$x_t = (1 - \alpha \lambda) x_{t-1}
      - \alpha \frac{\hat m_t}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon}$$

    Take it where you would take AdamW: with the same learning rate and decay it is often a little
    better, and a step costs the same.

    When to use:
        Every model that you would train with AdamW, at the same learning rate and decay: a step
        costs the same. Begin at 0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        weight_decay: the decay rate $\lambda$, multiplied by the learning rate; at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient, so every row decays. With `lazy=True`
        only the rows in the batch decay and are updated.

    Other libraries:
        Keras 3: has none; its `Nadam` has a schedule of the momentum.
        tf-keras: has none; its `Nadam` has a schedule of the momentum.
        PyTorch: `NAdam(decoupled_weight_decay=True)` has a schedule of the momentum.
        Optax: the same formula; `weight_decay` is 1e-4 by default.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.NAdamW(0.1, weight_decay=0.5)
    >>> _ = opt.apply_gradients([(tf.constant(0.0), x)])
    >>> float(x)
    0.95

    Sources: Dozat, "Incorporating Nesterov momentum into Adam" (2016), without a schedule of the
    momentum; Dahl et al., "Benchmarking neural network training algorithms" (2023), whose baseline
    it is. Optax has the same formula. `Nadam` is another one: its momentum follows a schedule, and
    PyTorch's NAdam is like `Nadam`.
    """

    learning_rate = Hyper(1e-3, low=0)
    weight_decay = Hyper(0.004, low=0, off=None, tracked=False)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)

    sparse = "exact"
    can_be_cautious = True
    _positional = ("learning_rate", "weight_decay", "beta_1", "beta_2", "epsilon")

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.alpha_m = h.learning_rate * h.beta_1 / (1 - h.beta_1 ** (h.t + 1))
        h.alpha_g = h.learning_rate * (1 - h.beta_1) / (1 - h.beta_1**h.t)
        h.correction_2 = 1 / (1 - h.beta_2**h.t)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        step = h.alpha_m * s.m + h.alpha_g * g
        return x - step / (tf.sqrt(h.correction_2 * s.v) + h.epsilon)
