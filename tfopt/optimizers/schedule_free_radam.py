"""ScheduleFreeRAdam: Schedule-Free AdamW that needs no warmup, either."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt.optimizers.rectified_adam import rectification
from tfopt.optimizers.schedule_free_adamw import ScheduleFreeAdamW


class ScheduleFreeRAdam(ScheduleFreeAdamW):
    r"""Schedule-Free RAdam: Schedule-Free AdamW with the rectified first steps of RAdam.

    The equations are those of `ScheduleFreeAdamW`, but the learning rate is

    $$\alpha_t = \alpha r_t$$

    with the factor $r_t$ of `RectifiedAdam`. While its $\rho_t \le 4$, $\alpha_t$ is 0: the first
    steps, four with the default $\beta_2$, only collect the second moment. So it needs no warmup.

    **Evaluate the average**, as with `ScheduleFreeAdamW`.

    When to use:
        As ScheduleFreeAdamW, without a warmup to choose. Begin at 0.0025, the default.

    Args:
        learning_rate: the step size $\alpha$, at least 0.
        beta_1: how close the variable is to the average, $\beta_1$, in [0, 1].
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        r: the power of the step's number in the weight of the average, at least 0.
        weight_lr_power: the power of the learning rate there, at least 0.
        warmup_steps: a linear warmup besides, in steps, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            $\lambda$, at the point $y$. `use_ema` raises, because the optimizer has an average of
            its own.

    Slots:
        `z`, `average` and `v`, of the variable's shape; and the scalar `weight_sum`.
        Weights that you load after the first step have no effect, since `z` and `average` are
        slots: load them before it, or make a new optimizer.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because the average of every
        row moves at each step.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none.
        PyTorch: has none; the authors' package `schedulefree` has the same formula.
        Optax: has none by name: `optax.contrib.schedule_free` wraps `optax.radam`.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.ScheduleFreeRAdam(0.25)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    1.0

    Source: the package `schedulefree` of Defazio et al., "The road less scheduled" (2024), with its
    `silent_sgd_phase`; Liu et al., "On the variance of the adaptive learning rate and beyond"
    (2020).
    """

    _positional = (
        "learning_rate",
        "beta_1",
        "beta_2",
        "epsilon",
        "r",
        "weight_lr_power",
        "warmup_steps",
    )

    def _formula_differs_in_keras(self) -> str:
        return ""  # Keras has no such optimizer

    def weigh(self, h: Any, state: Any) -> None:
        is_sure, factor = rectification(h.t, h.beta_2, 4)
        h.learning_rate = h.learning_rate * tf.where(is_sure, factor, 0)
        super().weigh(h, state)
