"""SWA: stochastic weight averaging, the mean of weights that another optimizer trains."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfopt import registry
from tfopt._values.initial_values import copy, zeros
from tfopt.hyper import Static
from tfopt.wrappers.all_rows import AllRowsWrapper


class SWA(AllRowsWrapper):
    r"""SWA: stochastic weight averaging around any optimizer of tfopt.

    The inner optimizer trains the weights. From step `start_averaging` on, every `average_period`
    steps, the weights enter a mean in equal parts. The model is evaluated with this mean:

    $$\bar x \leftarrow \frac{n \bar x + x}{n + 1}$$

    where n counts the weights that have entered. Until the first weights have entered, the model is
    evaluated with its own weights. Average late in the training, at a constant or cyclic learning
    rate.

    **Evaluate the mean.** `fit` of Keras 3 and tf-keras leaves it in the model at its end. For
    validation during `fit` use the callback `tfopt.evaluation.EvaluationWeights`, and in a loop of
    your own `with optimizer.evaluation_weights():`. Batch normalization needs statistics of the
    mean: see `tfopt.evaluation.update_batch_norm`.

    When to use:
        Results that vary from run to run: a mean of weights from late in the training often
        generalizes better. Keep the learning rate of the inner optimizer, constant or cyclic, once
        the averaging begins.

    Args:
        inner_optimizer: an optimizer of tfopt that has seen no variables, or an identifier for
            `tfopt.get`. See `Wrapper` for what it may have.
        start_averaging: how many steps come before the first weights enter, at least 0.
        average_period: after how many steps the next weights enter, at least 1.
        name: a name for the optimizer.
        **kwargs: the keywords that all optimizers share; see `Optimizer`. `use_ema` raises, because
            the optimizer has an average of its own.

    Slots:
        Those of the inner optimizer; `average`, of the variable's shape; and the scalar `entered`,
        which counts the weights in the average. A variable enters in steps in which it has a
        gradient.

    Sparse gradients:
        Exact, or whole where the inner optimizer needs that: the result is that of the dense
        gradient, because all rows enter the mean. `lazy=True` raises.

    Other libraries:
        Keras 3: has none.
        tf-keras: has none; in TensorFlow Addons the mean is 0 before the first weights enter.
        PyTorch: `torch.optim.swa_utils.AveragedModel` keeps the mean in a copy of the model, which
            you update.
        Optax: has none.

    Raises:
        TypeError: if `inner_optimizer` is not an optimizer of tfopt.
        ValueError: if a number is out of its range, or the inner optimizer has `lazy` True.

    >>> x = tf.Variable(1.0)
    >>> opt = tfopt.SWA(tfopt.SGD(0.25), start_averaging=1, average_period=1)
    >>> for _ in range(3):
    ...     _ = opt.apply_gradients([(1.0, x)])
    >>> with opt.evaluation_weights():
    ...     print(float(x))
    0.375
    >>> float(x)
    0.25

    After `fit` has put the mean into the model, another `fit` begins there.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization"
    (2018). Names and defaults are those of TensorFlow Addons, where the mean is 0 before the first
    weights enter.
    """

    start_averaging = Static(0, whole=True, low=0)
    average_period = Static(10, whole=True, low=1)

    def slots(self, x: Any) -> dict[str, Any]:
        return {**super().slots(x), "average": copy(x), "entered": zeros(x, shape=())}

    def begin(self, h: Any, state: Any) -> None:
        super().begin(h, state)
        since = h.t - 1 - self.start_averaging
        h.enters = (since >= 0) & tf.equal(since % self.average_period, 0)

    def update(self, g: Any, x: Any, s: Any, h: Any) -> Any:
        x = super().update(g, x, s, h)
        s.average = tf.where(h.enters, (s.entered * s.average + x) / (s.entered + 1), s.average)
        s.entered = tf.where(h.enters, s.entered + 1, s.entered)
        return x

    def evaluated(self, x: Any, s: Any, h: Any) -> Any:
        own = super().evaluated(x, s, h)
        return tf.where(s.entered > 0, s.average, own)


registry.register(SWA)
