"""ADOPT: Adam that converges with any decay rate of its second moment."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer


class ADOPT(Optimizer):
    r"""ADOPT: Adam that converges with any $\beta_2$.

    Each gradient is divided by the root of the second moment of those before it, and averaged then:

    $$n_t = \operatorname{clip}\left(\frac{g_t}{\max(\sqrt{v_{t-1}}, \epsilon)},
      \pm (t-1)^{1/4}\right)$$

    $$m_t = \beta_1 m_{t-1} + (1-\beta_1) n_t, \qquad x_t = x_{t-1} - \alpha m_t, \qquad
      v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2$$

    The first gradient of a weight that is not 0 only sets $v = g^2$ there, and $n = 0$. So the
    first step moves nothing, except by weight decay.

    When to use:
        Models that Adam trains with a large $\beta_2$, or that do not converge with Adam: it
        converges with any $\beta_2$. Begin at 0.001, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: the decay rate $\beta_1$ of the first moment, in [0, 1).
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the least root $\epsilon$ by which a gradient is divided, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`.

    Slots:
        `m` and `v`, of the variable's shape.

    Sparse gradients:
        Exact: the result is that of the dense gradient: the moments of all rows decay at every
        step. `lazy=True` updates only the rows in the batch; the cost is that of these rows.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none.
        PyTorch: has none; the authors' package sets $v$ in the first step of the training, not at
            each weight's first gradient.
        Optax: `optax.contrib.adopt` sets $v$ in the first step of the training, not at each
            weight's first gradient.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.ADOPT(0.25, beta_1=0.0)
    >>> for _ in range(2):
    ...     _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.75

    Source: Taniguchi et al., "ADOPT: modified Adam can converge with any $\beta_2$ with the optimal
    rate" (2024), with the clipping of its second version. There $v$ is set in the first step of
    the training; here each weight has its own first gradient, which is better for variables that
    join later and for rows of embeddings. Both are the same where no first gradient is 0. The
    authors' code does not decay weights in the first step.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_1 = Hyper(0.9, low=0, below=1)
    beta_2 = Hyper(0.9999, low=0, below=1)
    epsilon = Hyper(1e-6, low=0, tracked=False)

    sparse = "exact"
    can_be_cautious = True

    def slots(self, x: Any) -> dict[str, Any]:
        return {"m": zeros(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.limit = (h.t - 1) ** 0.25

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        is_known, root = s.v > 0, tf.maximum(tf.sqrt(s.v), h.epsilon)
        n = tf.clip_by_value(g / tf.where(is_known, root, 1), -h.limit, h.limit)
        s.m = h.beta_1 * s.m + (1 - h.beta_1) * tf.where(is_known, n, 0)
        s.v = tf.where(is_known, h.beta_2 * s.v + (1 - h.beta_2) * g * g, g * g)
        return x - h.learning_rate * s.m
