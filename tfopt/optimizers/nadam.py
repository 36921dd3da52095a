"""Nadam: Adam with Nesterov momentum."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Alias, Hyper
from tfopt.optimizer import Optimizer

BASE = float(np.float32(0.96))  # as OptimizerV2 rounds it, whatever the variables' dtype


class Nadam(Optimizer):
    r"""Nadam: Adam with Nesterov momentum, which follows a schedule.

    With the schedule $\mu_t = \beta_1 (1 - \tfrac12 0.96^{t\psi})$ and its product
    $\Pi_t = \prod_{i \le t} \mu_i$

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$$

    $$\bar m_t = (1-\mu_t) \frac{g_t}{1-\Pi_t} + \mu_{t+1} \frac{m_t}{1-\Pi_t \mu_{t+1}}$$

    $$x_t = x_{t-1} - \alpha \frac{\bar m_t}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon}$$

    When to use:
        Models that Adam trains, if you want Nesterov momentum and the results of OptimizerV2. For a
        new model, NAdamW has no second schedule inside. Begin at 0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        schedule_decay: how fast the momentum's schedule rises, $\psi$, at least 0. As in
            OptimizerV2, `decay` is another name for it, not a decay of the learning rate.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, of the variable's shape. The scalar `momentum_cache` of the optimizer
        is $\Pi_t$.

    Sparse gradients:
        Rows move: the moments of all rows decay as with the dense gradient, but only the rows
        in the batch move.

    Other libraries:
        Keras 3: the schedule of the momentum has $\psi = 1$.
        tf-keras: the schedule of the momentum has $\psi = 1$; `tf_keras.optimizers.legacy.Nadam` is
            the same as tfopt's.
        PyTorch: the same schedule, as `momentum_decay`; $\epsilon$ is 1e-8 and the learning rate
            0.002 by default.
        Optax: no schedule of the momentum: it is tfopt's `NAdamW` without weight decay.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Nadam(0.1)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.894355

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (2016), with the schedule of
    OptimizerV2. Keras 3 has another schedule.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-7, low=0, tracked=False)
    schedule_decay = Hyper(0.004, low=0, tracked="decay")
    decay = Alias("schedule_decay")

    sparse = "rows_move"
    can_be_cautious = True
    state = {"momentum_cache": 1.0}

    def _formula_differs_in_keras(self) -> str:
        return "the momentum's schedule is another one"

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        mu = h.beta_1 * (1 - 0.5 * BASE ** (h.schedule_decay * h.t))
        mu_next = h.beta_1 * (1 - 0.5 * BASE ** (h.schedule_decay * (h.t + 1)))
        product = state.momentum_cache = state.momentum_cache * mu
        h.alpha_g = h.learning_rate * (1 - mu) / (1 - product)
        h.alpha_m = h.learning_rate * mu_next / (1 - product * mu_next)
        h.correction = 1 / (1 - h.beta_2**h.t)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        step = h.alpha_g * g + h.alpha_m * s.m
        return x - step / (tf.sqrt(h.correction * s.v) + h.epsilon)
