"""AdEMAMix: Adam with a second, slow moving average of the gradients."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class AdEMAMix(Optimizer):
    r"""AdEMAMix: AdamW with a fast and a slow moving average of the gradients.

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad
      q_t = \beta_{3,t} q_{t-1} + (1-\beta_{3,t}) g_t, \qquad
      v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$$

    $$x_t = (1 - \alpha \lambda) x_{t-1} - \alpha
      \frac{m_t / (1-\beta_1^t) + a_t q_t}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon}$$

    The slow average remembers thousands of gradients, so it pays in long training. Both of its
    numbers may begin small, which keeps early training stable. In step t of a warmup of T steps

    $$a_t = a \min(1, t / T_a), \qquad
      \beta_{3,t} = \exp \frac{\ln \beta_1 \ln \beta_3}
        {(1 - t / T_3) \ln \beta_3 + (t / T_3) \ln \beta_1}$$

    When to use:
        Very long training, since it remembers thousands of gradients. Set `alpha_warmup_steps` and
        `beta_3_warmup_steps` to the length of the training. Begin at 0.001, the default, or at
        AdamW's learning rate.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the fast average, in (0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        beta_3: the decay rate $\beta_3$ of the slow average, in (0, 1).
        alpha: the weight $a$ of the slow average, at least 0. The authors use 4 to 10.
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        alpha_warmup_steps: $T_a$, in steps, at least 0; the authors take the length of the
            training. At 0 there is no warmup.
        beta_3_warmup_steps: $T_3$, likewise.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m`, `m_slow` ($q$) and `v`, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the moments of all rows decay at every
        step. `lazy=True` updates only the rows in the batch; the cost is that of these rows.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none.
        PyTorch: has none.
        Optax: `optax.contrib.ademamix` counts the steps of a warmup from 0.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if a number of steps is not a whole one.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.AdEMAMix(0.1, alpha=0.0)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9

    Source: Pagliardini, Ablin and Grangier, "The AdEMAMix optimizer: better, faster, older"
    (2024). The slow average is not corrected for bias, as there. Optax counts the steps of a
    warmup from 0; the authors and tfopt count from 1.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, above=0, below=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    beta_3 = Hyper(0.9999, above=0, below=1)
    alpha = Hyper(5.0, low=0)
    epsilon = Hyper(1e-8, low=0, tracked=False)
    alpha_warmup_steps = Static(0, whole=True, low=0)
    beta_3_warmup_steps = Static(0, whole=True, low=0)

    sparse = "exact"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "m_slow": zeros(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.correction_1, h.correction_2 = 1 / (1 - h.beta_1**h.t), 1 / (1 - h.beta_2**h.t)
        if self.alpha_warmup_steps:
            h.alpha = h.alpha * tf.minimum(h.t / self.alpha_warmup_steps, 1)
        if self.beta_3_warmup_steps:
            part = tf.minimum(h.t / self.beta_3_warmup_steps, 1)
            log_1, log_3 = tf.math.log(h.beta_1), tf.math.log(h.beta_3)
            h.beta_3 = tf.exp(log_1 * log_3 / ((1 - part) * log_3 + part * log_1))

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * g
        s.m_slow = h.beta_3 * s.m_slow + (1 - h.beta_3) * g
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        mixed = h.correction_1 * s.m + h.alpha * s.m_slow
        return x - h.learning_rate * mixed / (tf.sqrt(h.correction_2 * s.v) + h.epsilon)
