"""FTRL-Proximal: follow the regularized leader."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._libraries.kernels import kernel
from tfopt._values.initial_values import full, zeros
from tfopt.hyper import Hyper, Static
from tfopt.optimizer import Optimizer


class Ftrl(Optimizer):
    r"""FTRL-Proximal (follow the regularized leader), for sparse linear models.

    With $\hat g_t = g_t + 2 \lambda_s x_{t-1}$ and $n_t = n_{t-1} + g_t^2$

    $$z_t = z_{t-1} + \hat g_t - \frac{n_t^{-p} - n_{t-1}^{-p}}{\alpha} x_{t-1}$$

    $$x_t = \frac{\mathrm{sign}(z_t)\lambda_1 - z_t}
      {n_t^{-p}/\alpha + 2 (\lambda_2 + \beta / 2\alpha)}
      \ \text{ where } |z_t| > \lambda_1, \text{ else } 0$$

    When to use:
        Linear models of sparse features, such as click prediction, whose weights should become
        exactly 0 by `l1_regularization_strength`. Do not use it for hidden layers: the weights are
        computed from `linear`, which starts at 0, so the first step forgets the initial weights.
        Begin at 0.001, the default, and try factors of 3 upwards: the rate falls as in Adagrad.

    Args:
        learning_rate: the step size $\alpha$, at least 0. The formula divides by it: at 0 the
            weights become NaN, so a warm-up must start above 0.
        learning_rate_power: $p$, at most 0. With -0.5 the rate falls as Adagrad's does; with 0
            it is constant.
        initial_accumulator_value: the first value of $n$, at least 0.
        l1_regularization_strength: $\lambda_1$, at least 0. It makes weights exactly 0.
        l2_regularization_strength: $\lambda_2$, at least 0.
        l2_shrinkage_regularization_strength: $\lambda_s$, at least 0: a penalty on the size
            of the weights, whereas $\lambda_2$ stabilizes. If it is 0 when the slots are
            created, it cannot change afterwards.
        beta: the paper's $\beta$, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay`
            raises, because each step computes the weights anew from `linear`.

    Slots:
        `accumulator` ($n$) and `linear` ($z$), of the variable's shape. `weights` lists them
        variable by variable.

    Sparse gradients:
        Rows: only the rows in the batch are updated. For a row that has had a gradient, the
        result is that of the dense gradient. A row that never had one keeps its initial value;
        the dense gradient would set it to 0, the value for $z = 0$.

    Other libraries:
        Keras 3: the same for dense gradients; the parts of a repeated row are squared before they
            are summed.
        tf-keras: the same; so is `tf_keras.optimizers.legacy.Ftrl`.
        PyTorch: has none.
        Optax: has none.

    Raises:
        ValueError: if a number is out of its range.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.Ftrl(0.1, initial_accumulator_value=0.0)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.9

    Source: McMahan et al., "Ad click prediction: a view from the trenches" (2013).
    """

    learning_rate = Hyper(1e-3, low=0)
    learning_rate_power = Hyper(-0.5, high=0)
    initial_accumulator_value = Static(0.1, low=0)
    l1_regularization_strength = Hyper(0.0, low=0)
    l2_regularization_strength = Hyper(0.0, low=0)
    l2_shrinkage_regularization_strength = Hyper(0.0, low=0, off=0, tracked=False)
    beta = Hyper(0.0, low=0)

    sparse = "rows"
    decays = None
    slot_order = "variable"

    def slots(self, x: Any) -> dict[str, Any]:
        return {"accumulator": full(x, self.initial_accumulator_value), "linear": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        h.l2 = h.l2_regularization_strength + h.beta / (2 * h.learning_rate)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        g_hat = g
        if self.uses("l2_shrinkage_regularization_strength"):
            g_hat = g + 2 * h.l2_shrinkage_regularization_strength * x
        n, n_old = s.accumulator + g * g, s.accumulator
        rate, rate_old = self._power(n, h), self._power(n_old, h)
        z = s.linear + g_hat - (rate - rate_old) / h.learning_rate * x
        s.accumulator, s.linear = n, z
        l1 = h.l1_regularization_strength
        leader = (tf.sign(z) * l1 - z) / (rate / h.learning_rate + 2 * h.l2)
        return tf.where(tf.abs(z) > l1, leader, 0)

    def _power(self, n: Any, h: Any) -> Any:
        p = -h.learning_rate_power
        return tf.cond(
            tf.equal(p, 0.5), lambda: tf.sqrt(n), lambda: n**p
        )  # the root is much faster

    def fused(self, g: Any, var: Any, s: Any, h: Any) -> Any:
        slots = {"accum": s.accumulator, "linear": s.linear}
        rest = {"lr": h.learning_rate, "lr_power": h.learning_rate_power, "grad": g}
        strengths = {"l1": h.l1_regularization_strength, "l2": h.l2}
        op = tf.raw_ops.ResourceApplyFtrl
        if self.uses("l2_shrinkage_regularization_strength"):
            op = tf.raw_ops.ResourceApplyFtrlV2
            strengths["l2_shrinkage"] = h.l2_shrinkage_regularization_strength
        return kernel(op, var=var, **slots, **rest, **strengths)
