"""Adafactor: a second moment for rows and columns instead of entries."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class Adafactor(Optimizer):
    r"""Adafactor: adaptive learning rates with little memory, by rows and columns of a matrix.

    With $\hat\beta_t = 1 - t^\gamma$, for each row $i$ and column $j$

    $$r_{t,i} = \hat\beta_t r_{t-1,i}
      + (1-\hat\beta_t)\, \mathrm{mean}_j (g_{t,ij}^2 + \epsilon_1), \qquad
      c_{t,j} = \hat\beta_t c_{t-1,j}
      + (1-\hat\beta_t)\, \mathrm{mean}_i (g_{t,ij}^2 + \epsilon_1)$$

    $$v_{t,ij} = \frac{r_{t,i}\, c_{t,j}}{\mathrm{mean}_i\, r_{t,i}}, \qquad
      u_t = \frac{g_t}{\sqrt{v_t}}, \qquad \rho_t = \min\left(\alpha, \frac{1}{\sqrt t}\right)$$

    $$x_t = x_{t-1} - \rho_t \max(\epsilon_2, \mathrm{RMS}(x_{t-1}))
      \frac{u_t}{\max(1, \mathrm{RMS}(u_t) / d)}$$

    where RMS is the root mean square of all entries. If there are more than two axes, the last
    two are rows and columns. Scalars and vectors keep for each entry
    $v_t = \hat\beta_t v_{t-1} + (1-\hat\beta_t) (g_t^2 + \epsilon_1)$.

    When to use:
        Large models, if memory is scarce: matrices keep one number for each row and each column.
        Begin at 0.01, the learning rate of the paper: it is relative to the size of the weights,
        and the default of Keras, 0.001, is small.

    Args:
        learning_rate: the step size $\alpha$, at least 0, relative to the variable's RMS.
        beta_2_decay: the power $\gamma$ by which $\hat\beta_t$ approaches 1, at most 0.
        epsilon_1: the small number $\epsilon_1$ that is added to squared gradients, at least 0.
        epsilon_2: the lower bound $\epsilon_2$ of the variable's RMS, at least 0.
        clip_threshold: the RMS $d$ to which $u_t$ is clipped, above 0.
        relative_step: whether $1/\sqrt t$ bounds the step size. If False, $\rho_t = \alpha$.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            in units of $\alpha$, not of $\rho_t$.

    Slots:
        `r` and `c`, of the variable's shape without its last axis and without the one before;
        `v`, of the variable's shape, for scalars and vectors.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because the means need the
        whole variable.

    Other libraries:
        Keras 3: `relative_step=False` has no effect, and each variable has a further slot of its
            own shape.
        tf-keras: `relative_step=False` has no effect, and each variable has a further slot of its
            own shape.
        PyTorch: always `relative_step`; $\epsilon_1$ bounds the second moment from below; the
            learning rate is 0.01 by default.
        Optax: has no `relative_step`; axes shorter than 128 are not factored; momentum is an
            option.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable([[3.0], [4.0]])
    >>> opt = tfopt.Adafactor(0.1)
    >>> _ = opt.minimize(lambda: tf.reduce_sum(x), [x])
    >>> x.numpy()
    array([[2.6464467], [3.6464467]], dtype=float32)

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost"
    (2018), algorithms 4 and 5, with means in place of sums, which gives the same. The paper's
    default is $\alpha = 0.01$; 0.001 is Keras'. In Keras 3 `relative_step=False` has no effect,
    and each variable has a slot of its own shape in addition to $r$ and $c$.
    """

    learning_rate = Hyper(1e-3, low=0)
    beta_2_decay = Hyper(-0.8, high=0)
    epsilon_1 = Hyper(1e-30, low=0)
    epsilon_2 = Hyper(1e-3, low=0)
    clip_threshold = Hyper(1.0, above=0)
    relative_step = Static(True)

    sparse = "whole"

    def _formula_differs_in_keras(self) -> str:
        return "" if self.relative_step else "`relative_step=False` has no effect"

    def slots(self, x: Any) -> dict[str, Any]:
        if (x.shape.rank or 0) < 2:
            return {"v": zeros(x)}
        return {"r": zeros(x, axis=-1), "c": zeros(x, axis=-2)}

    def begin(self, h: Any, state: Any) -> None:
        h.beta_2 = 1 - h.t**h.beta_2_decay
        h.rho = h.learning_rate
        if self.relative_step:
            h.rho = tf.minimum(h.rho, 1 / tf.sqrt(h.t))

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        def average(old: Any, new: Any) -> Any:
            return h.beta_2 * old + (1 - h.beta_2) * new

        squares = g * g + h.epsilon_1
        if hasattr(s, "v"):
            s.v = average(s.v, squares)
            u = g / tf.sqrt(s.v)
        else:
            s.r = average(s.r, tf.reduce_mean(squares, axis=-1))
            s.c = average(s.c, tf.reduce_mean(squares, axis=-2))
            # Two roots, not the root of the product: that may underflow to 0 in float32.
            mean = tf.reduce_mean(s.r, axis=-1, keepdims=True)
            scale = tf.sqrt(mean) / tf.sqrt(s.c)
            u = g / tf.sqrt(s.r)[..., tf.newaxis] * scale[..., tf.newaxis, :]
        u = u / tf.maximum(rms(u) / h.clip_threshold, 1)
        return x - h.rho * tf.maximum(rms(x), h.epsilon_2) * u


def rms(x: Any) -> Any:
    """Returns the root mean square."""
    return tf.sqrt(tf.reduce_mean(x * x))
