"""ScheduleFreeSGD: SGD that averages its weights in place of a learning rate schedule."""

from __future__ import annotations

from typing import Any

from tfopt.hyper import Hyper
from tfopt.optimizer import Optimizer
from tfopt.optimizers._schedule_free import ScheduleFree


class ScheduleFreeSGD(ScheduleFree, Optimizer):
    r"""Schedule-Free SGD: no learning rate schedule, and no length of training to choose.

    The variable is $y$, between the weights $z$ of SGD and their average $\bar x$:

    $$z_t = z_{t-1} - \alpha_t (g_t + \lambda y_{t-1}), \qquad
      \bar x_t = (1-c_t) \bar x_{t-1} + c_t z_t, \qquad
      y_t = (1-\mu) z_t + \mu \bar x_t$$

    $$\alpha_t = \alpha \min(1, t/T), \qquad
      w_t = t^r \bigl(\max_{i \le t} \alpha_i\bigr)^p, \qquad
      c_t = w_t \Big/ \sum_{i \le t} w_i$$

    **Evaluate the average.** `fit` of Keras 3 and tf-keras leaves it in the model at its end. For
    validation during `fit` use the callback `tfopt.evaluation.EvaluationWeights`, and in a loop of
    your own `with optimizer.evaluation_weights():`. Batch normalization needs statistics of the
    average: see `tfopt.evaluation.update_batch_norm`.

    When to use:
        Convolutional networks whose training has no end that you know. Begin at 1.0, the default,
        or ten to fifty times higher than for SGD with momentum.

    Args:
        learning_rate: the step size $\alpha$, at least 0. Take a larger one than for SGD with
            momentum, ten to fifty times.
        momentum: $\mu$, how close the variable is to the average, in [0, 1].
        warmup_steps: T, in steps, at least 0. At 0 there is no warmup.
        r: the power of the step's number in the weight of the average, at least 0.
        weight_lr_power: the power p of the learning rate there, at least 0.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `weight_decay` is
            $\lambda$, which is part of the gradient here. `use_ema` raises, because the optimizer
            has an average of its own.

    Slots:
        `z` and `average`, of the variable's shape; and the scalar `weight_sum`.
        Weights that you load after the first step have no effect, since `z` and `average` are
        slots: load them before it, or make a new optimizer.

    Sparse gradients:
        Whole: the gradient is made dense first. `lazy=True` raises, because the average of every
        row moves at each step.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none.
        PyTorch: has none; the authors' package `schedulefree` has the same formula.
        Optax: `optax.contrib.schedule_free_sgd` has no `r`; `b1` is the momentum.

    Raises:
        ValueError: if a number is out of its range, or `lazy` is True.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.ScheduleFreeSGD(0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     _ = opt.minimize(lambda: x * x / 2, [x])
    >>> with opt.evaluation_weights():
    ...     print(float(x))
    0.375
    >>> float(x)
    0.3125

    Source: Defazio et al., "The road less scheduled" (2024). The authors' package keeps one slot
    less and computes the average from the others; here it is a slot, so that training can
    go on after `fit` has put the average into the model; only the next gradient is taken there.
    """

    learning_rate = Hyper(1.0, low=0)
    momentum = Hyper(0.9, low=0, high=1)

    _positional = ("learning_rate", "momentum", "warmup_steps", "r", "weight_lr_power")

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        return self.move(g, x, s, h, h.momentum)
