"""ScheduleFreeAdamW: AdamW that averages its weights in place of a learning rate schedule."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt._values.initial_values import zeros
from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer
from tfopt.optimizers._schedule_free import ScheduleFree


class ScheduleFreeAdamW(ScheduleFree, Optimizer):
    r"""Schedule-Free AdamW: no learning rate schedule, and no length of training to choose.

    The variable is $y$, between the weights $z$ of AdamW and their average $\bar x$:

    $$v_t = \beta_2 v_{t-1} + (1-\beta_2) g_t^2, \qquad
      d_t = \frac{g_t}{\sqrt{v_t / (1-\beta_2^t)} + \epsilon} + \lambda y_{t-1}$$

    $$z_t = z_{t-1} - \alpha_t d_t, \qquad
      \bar x_t = (1-c_t) \bar x_{t-1} + c_t z_t, \qquad
      y_t = (1-\beta_1) z_t + \beta_1 \bar x_t$$

    $$\alpha_t = \alpha \min(1, t/T), \qquad
      w_t = t^r \bigl(\max_{i \le t} \alpha_i\bigr)^p, \qquad
      c_t = w_t \Big/ \sum_{i \le t} w_i$$

    **Evaluate the average.** `fit` of Keras 3 and tf-keras leaves it in the model at its end. For
    validation during `fit` use the callback `tfopt.evaluation.EvaluationWeights`, and in a loop of
    your own `with optimizer.evaluation_weights():`. Batch normalization needs statistics of the
    average: see `tfopt.evaluation.update_batch_norm`.

    When to use:
        Training whose end you do not know: it averages its weights, so it needs no learning rate
        schedule, and you may stop at any time. Begin at 0.0025, the default, or up to ten times
        higher than AdamW's learning rate with a schedule.

    Args:
        learning_rate: the step size $\alpha$, at least 0. Take a larger one than for AdamW with a
            schedule, up to ten times.
        beta_1: how close the variable is to the average, $\beta_1$, in [0, 1].
        beta_2: the decay rate $\beta_2$ of the second moment, in [0, 1).
        epsilon: the small number $\epsilon$ in the denominator, at least 0.
        warmup_steps: T, in steps, at least 0. At 0 there is no warmup.
        r: the power of the step's number in the weight of the average, at least 0.
        weight_lr_power: the power p of the learning rate there, at least 0.
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
        Keras 3: the variable is the average itself, so `beta_1` has no effect.
        tf-keras: has none.
        PyTorch: has none; the authors' package `schedulefree` has the same formula.
        Optax: `optax.contrib.schedule_free_adamw` has no `r`; you compute the average by
            `schedule_free_eval_params`.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.ScheduleFreeAdamW(0.25, epsilon=0.0)
    >>> _ = opt.minimize(lambda: x * x / 2, [x])
    >>> float(x)
    0.75

    Source: Defazio et al., "The road less scheduled" (2024). The authors' package keeps one slot
    less and computes the average from the others; here it is a slot, so that training can
    go on after `fit` has put the average into the model; only the next gradient is taken there.
    In Keras 3 the variable is the average itself, so that `beta_1` has no effect; weights are
    averaged alike during a warmup; and weights decay outside of $z$.
    """

    learning_rate = Hyper(0.0025, low=0)
    beta_1 = Hyper(0.9, low=0, high=1)
    beta_2 = Hyper(0.999, low=0, below=1)
    epsilon = Hyper(1e-8, low=0, tracked=False)

    _positional = (
        "learning_rate",
        "beta_1",
        "beta_2",
        "epsilon",
        "warmup_steps",
        "r",
        "weight_lr_power",
    )

    def _formula_differs_in_keras(self) -> str:
        return "`beta_1` has no effect, since the variable is the average itself"

    def slots(self, x: Any) -> dict[str, Any]:
        return {**super().slots(x), "v": zeros(x)}

    def begin(self, h: Any, state: Any) -> None:
        super().begin(h, state)
        h.correction_2 = 1 / (1 - h.beta_2**h.t)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        s.v = h.beta_2 * s.v + (1 - h.beta_2) * g * g
        direction = g / (tf.sqrt(h.correction_2 * s.v) + h.epsilon)
        return self.move(direction, x, s, h, h.beta_1)
